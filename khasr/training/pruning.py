"""Reports validations to the study of a search, and stops a trial that its pruner gives up."""

import math
import sys
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from khasr.config import Config, SweepConfig
from khasr.optim.schedules import in_steps
from khasr.run.outcome import Pruned
from khasr.training.checkpoints import Checkpoints
from khasr.training.module import CtcModule
from khasr.training.ranks import any_rank

if TYPE_CHECKING:
    import optuna

LEAST_GRACE = 10
"""Percent of a run before which it is not pruned, unless sweep.grace is set."""


def grace_percent(config: Config, total_steps: int) -> int:
    """Percent of a run of that many steps before which it is not pruned."""
    if config.sweep.grace is not None:
        return _percent(config.sweep.grace)
    phases = (config.schedule.warmup, config.finetune.freeze_encoder_steps)
    longest = max(in_steps(phase, total_steps) for phase in phases)
    return max(LEAST_GRACE, 100 * longest // total_steps + 1)  # not at a validation that ends the phase


def _percent(share: float) -> int:
    return math.ceil(round(100 * share, 6))


def build_pruner(options: SweepConfig) -> "optuna.pruners.BasePruner":
    """Optuna's pruner; to it, the steps of a trial are percents of its run."""
    from optuna.pruners import HyperbandPruner, MedianPruner, SuccessiveHalvingPruner

    first = LEAST_GRACE if options.grace is None else max(1, _percent(options.grace))
    if options.pruner == "median":
        return MedianPruner()
    if options.pruner == "asha":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=options.reduction_factor)
    return HyperbandPruner(min_resource=first, max_resource=100, reduction_factor=options.reduction_factor)


class Pruning(Checkpoint):
    """Reports the WER of each validation to the trial of this run, and raises `Pruned` if the trial is to stop.

    Trials are compared at equal percents of their runs, since a search can vary the length of a run, and with it the
    schedule. Between two validations the WER is interpolated, so that trials with other validations have values at the
    same percents. Reports that the study already has, of a start that was interrupted, are not repeated.

    During its grace period a trial reports like any other, but the pruner's answer has no effect. The pruner is asked
    nevertheless, because successive halving records a trial's value at each decision.

    A checkpoint callback, because Lightning calls those last and in this order: the validation is saved by then.
    """

    def __init__(self, options: SweepConfig, checkpoints: Checkpoints, total_steps: int, grace: int) -> None:
        """For a run of `total_steps` steps that is not pruned before `grace` percent of them."""
        self._options = options
        self._checkpoints = checkpoints
        self._total_steps = total_steps
        self._grace = grace
        self._trial: optuna.Trial | None = None
        self._reported: dict[int, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the study."""
        if trainer.is_global_zero:
            self.open()

    def open(self) -> None:
        """Reads the trial and its earlier reports."""
        import optuna

        assert self._options.storage is not None
        study = optuna.load_study(
            study_name=self._options.study, storage=self._options.storage, pruner=build_pruner(self._options),
            sampler=optuna.samplers.RandomSampler(),
        )  # fmt: skip
        trial = study.get_trials()[self._options.trial or 0]
        self._reported = dict(trial.intermediate_values)
        # Optuna has no public way to open a trial by its number.
        self._trial = optuna.Trial(study, trial._trial_id)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports the validation, and stops the run on all ranks if the pruner gives it up."""
        assert isinstance(pl_module, CtcModule)
        step = trainer.global_step
        if not any_rank(trainer.is_global_zero and self.report(step, pl_module.validation["wer"])):
            return
        best, best_step = self._checkpoints.best, self._checkpoints.best_step
        assert best is not None
        assert best_step is not None
        scores = {"wer": best[0], "cer": best[1], "best_step": best_step, "step": step}
        raise Pruned(self._options.pruner, scores | {"share": step / self._total_steps})

    def report(self, step: int, wer: float) -> bool:
        """Reports a validation; returns whether the trial is to stop."""
        from optuna.exceptions import StorageInternalError

        assert self._trial is not None
        percent = 100 * step // self._total_steps
        last = max(self._reported, default=percent - 1)
        if percent <= last:
            return False
        before = self._reported.get(last, wer)
        try:
            for between in range(last + 1, percent + 1):
                value = before + (wer - before) * (between - last) / (percent - last)
                self._trial.report(value, between)
                self._reported[between] = value
            gives_up = self._trial.should_prune()
        except StorageInternalError as error:
            print(f"The study could not be reached at step {step:,}; the run continues. {error}", file=sys.stderr)
            return False
        return gives_up and self._grace <= percent < 100
