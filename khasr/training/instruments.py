"""Measurements of a run that are always on; experiments/instruments measures their cost."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import FSDPStrategy

from khasr.training.diagnostics import StartWeights, UpdateRatios
from khasr.training.module import CtcModule
from khasr.training.stage_times import STAGES, StageTimes

# A run counts as all blank from this share of blank frames on, since single frames do not make a word.
ALL_BLANK = 0.99


class Instruments(Callback):
    """Blank frames, skipped steps, summed lr, gradients, updates and drift of each part, and the time of each stage.

    `row` returns the columns for a row of training metrics, over the steps since the previous row; `drift` returns
    those for a row of validation.

    Attributes:
        left_blank_at_step: the step of the row since which not all frames are blank; None while all are.
    """

    def __init__(self, log_every_steps: int, start: StartWeights) -> None:
        self._log_every_steps = log_every_steps
        self._start = start
        self._ratios: UpdateRatios | None = None
        # The sum of lr over the steps since the last row, of which some may turn out to have been skipped.
        self._lr_since_row = 0.0
        self._ranks = 1
        self._times = StageTimes()
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        self._run_seconds = dict.fromkeys(STAGES, 0.0)
        self._lr_area = 0.0
        self.left_blank_at_step: int | None = 0
        self._totals = dict.fromkeys(("steps", "skipped", "audio_seconds", "padded_seconds"), 0.0)

    @property
    def lr_area(self) -> float:
        """The sum of lr over all steps taken."""
        return self._lr_area + self._lr_since_row

    def state_dict(self) -> dict[str, Any]:
        """Counters of the whole run."""
        self._read_times()
        return {
            "lr_area": self._lr_area,
            "lr_since_row": self._lr_since_row,
            "left_blank_at_step": self.left_blank_at_step,
            "totals": dict(self._totals),
            "stage_seconds": dict(self._stage_seconds),
            "run_seconds": dict(self._run_seconds),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the counters."""
        self._lr_area, self.left_blank_at_step = state_dict["lr_area"], state_dict["left_blank_at_step"]
        self._lr_since_row = state_dict.get("lr_since_row", 0.0)
        self._totals = dict(state_dict["totals"])
        self._stage_seconds, self._run_seconds = dict(state_dict["stage_seconds"]), dict(state_dict["run_seconds"])

    # -------------------------------------------------------------------------------------------- time of each stage

    def _read_times(self) -> None:
        for stage, seconds in self._times.read().items():
            self._stage_seconds[stage] += seconds
            self._run_seconds[stage] += seconds

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock; from here on it is known which parameters are trained."""
        assert isinstance(pl_module, CtcModule)
        if not isinstance(trainer.strategy, FSDPStrategy):  # whose ranks have shards with other names
            self._ratios = UpdateRatios(pl_module.model)
        self._ranks = trainer.world_size
        self._times.start(pl_module.device.type == "cuda")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch has been loaded."""
        self._times.end("data")

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Any) -> None:
        """The loss has been computed."""
        self._times.end("forward")

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The gradients have been computed."""
        self._times.end("backward")

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Adds the lr and, if a row is due, stores the weights before the step."""
        top = optimizer.param_groups[0]
        self._lr_since_row += top["lr"] / top["layer_scale"]
        if self._ratios is not None and self._row_is_due(trainer.global_step + 1):
            self._ratios.before_step()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The batch has been trained on."""
        self._times.end("optimizer")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restarts the clock: validation is not counted."""
        self._times.start(pl_module.device.type == "cuda")

    # ------------------------------------------------------------------------------------------------------ the rows

    def _row_is_due(self, step: int) -> bool:
        return step % self._log_every_steps == 0

    def row(self, step: int, window: dict[str, float]) -> dict[str, float]:
        """The columns of a step's row of training metrics beside the loss.

        Args:
            window: the module's sums since the previous row, over all ranks.
        """
        blank_share = window["blank_frames"] / max(1.0, window["frames"])
        if blank_share >= ALL_BLANK:
            self.left_blank_at_step = None
        elif self.left_blank_at_step is None:
            self.left_blank_at_step = step
        finite = window["finite_steps"]
        skipped = window["steps"] - finite
        for key in self._totals:
            self._totals[key] += skipped if key == "skipped" else window[key]
        self._lr_area += window["lr"] / self._ranks
        self._lr_since_row = 0.0
        self._read_times()
        seconds = max(1e-9, sum(self._stage_seconds.values()))
        row = {
            "train/blank_share": blank_share,
            "train/skipped_share": skipped / max(1.0, window["steps"]),
            "train/audio_seconds_per_update": window["audio_seconds"] * self._ranks / max(1.0, window["steps"]),
            "train/padding_share": 1 - window["audio_seconds"] / max(1e-9, window["padded_seconds"]),
            "train/lr_area": self.lr_area,
        }
        row |= {f"time/{stage}": spent / seconds for stage, spent in self._stage_seconds.items()}
        row |= {k: window[k] / finite for k in sorted(window) if finite and k.startswith("grad_norm/")}
        if self._ratios is not None:
            row |= self._ratios.after_step()
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        return row

    def drift(self, trainer: pl.Trainer, pl_module: CtcModule) -> dict[str, float]:
        """The distance of each part of the model from its initial weights; empty under fsdp.

        Empty on other ranks than the first, which log no rows: it reads the whole checkpoint.
        """
        if isinstance(trainer.strategy, FSDPStrategy) or not trainer.is_global_zero:
            return {}
        return self._start.drift(pl_module.model)

    def totals(self) -> dict[str, Any]:
        """The totals for results.json, up to the last row."""
        self._read_times()
        counted = self._totals
        seconds = max(1e-9, sum(self._run_seconds.values()))
        return {
            "lr_area": self.lr_area,
            "left_blank_at_step": self.left_blank_at_step,
            "skipped_share": counted["skipped"] / max(1.0, counted["steps"]),
            "padding_share": 1 - counted["audio_seconds"] / padded if (padded := counted["padded_seconds"]) else 0.0,
            "audio_seconds_per_update": counted["audio_seconds"] * self._ranks / max(1.0, counted["steps"]),
            "time": {stage: spent / seconds for stage, spent in self._run_seconds.items()},
        }
