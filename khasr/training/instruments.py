"""What is watched of a run while it trains, cheap enough to be always on (experiments/instruments has its cost)."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import FSDPStrategy

from khasr.training.diagnostics import StartWeights, UpdateRatios
from khasr.training.module import CtcModule

# From this share on a run counts as all blank: a stray frame is no word.
ALL_BLANK = 0.99


STAGES = ("data", "forward", "backward", "optimizer")


class Instruments(Callback):
    """Blanks, skipped steps, lr behind, the movement of each part of the model, and where the time goes.

    `row` gives what is due with a row of training metrics, `drift` with one of validation; both count from the run's
    start, or from the row before.

    Attributes:
        lr_area: the sum over all steps taken of their lr.
        left_blank_at_step: the step of the first row from which on not all frames were blank; None while they are.
    """

    def __init__(self, log_every_steps: int, start: StartWeights) -> None:
        self._log_every_steps = log_every_steps
        self._start = start
        self._ratios: UpdateRatios | None = None
        self._lr = 0.0
        self._loss_scale: float | None = None
        self._ranks = 1
        self._clock = 0.0
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        self._run_seconds = dict.fromkeys(STAGES, 0.0)
        self.lr_area = 0.0
        self.left_blank_at_step: int | None = 0
        self._totals = dict.fromkeys(("steps", "skipped", "audio_seconds", "padded_seconds"), 0.0)

    def state_dict(self) -> dict[str, Any]:
        """What is counted over the whole run."""
        return {
            "lr_area": self.lr_area,
            "left_blank_at_step": self.left_blank_at_step,
            "totals": dict(self._totals),
            "stage_seconds": dict(self._stage_seconds),
            "run_seconds": dict(self._run_seconds),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it up again."""
        self.lr_area, self.left_blank_at_step = state_dict["lr_area"], state_dict["left_blank_at_step"]
        self._totals = dict(state_dict["totals"])
        self._stage_seconds, self._run_seconds = dict(state_dict["stage_seconds"]), dict(state_dict["run_seconds"])

    # ------------------------------------------------------------------------------------------ where the time goes

    def _lap(self, stage: str) -> None:
        """Counts the time since the last lap as the stage's."""
        now = time.perf_counter()
        self._stage_seconds[stage] += now - self._clock
        self._run_seconds[stage] += now - self._clock
        self._clock = now

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock; what trains is known now."""
        assert isinstance(pl_module, CtcModule)
        if not isinstance(trainer.strategy, FSDPStrategy):  # whose ranks have shares of the weights, by other names
            self._ratios = UpdateRatios(pl_module.model)
        self._ranks = trainer.world_size
        self._clock = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch is here."""
        self._lap("data")

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Any) -> None:
        """The loss is here: the training step has waited for it."""
        self._lap("forward")

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The gradients are here, once a GPU is done with them."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._lap("backward")

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Remembers what the step will change."""
        top = optimizer.param_groups[0]
        self._lr = top["lr"] / top["layer_scale"]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._loss_scale = None if scaler is None else scaler.get_scale()
        if self._ratios is not None and self._row_is_due(trainer.global_step + 1):
            self._ratios.before_step()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the step, if one ended here."""
        assert isinstance(pl_module, CtcModule)
        self._lap("optimizer")
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        # torch's GradScaler leaves out a step whose gradients overflowed, and lowers its scale.
        if scaler is not None and self._loss_scale is not None and scaler.get_scale() < self._loss_scale:
            pl_module.window["skipped"] += 1
        else:
            self.lr_area += self._lr

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The clock goes on from here."""
        self._clock = time.perf_counter()

    # ------------------------------------------------------------------------------------------------------ the rows

    def _row_is_due(self, step: int) -> bool:
        return step % self._log_every_steps == 0

    def row(self, step: int, window: dict[str, float]) -> dict[str, float]:
        """What goes into the row of a step beside its loss.

        Args:
            window: the module's sums since the row before, over all ranks.
        """
        blank_share = window["blank_frames"] / max(1.0, window["frames"])
        if blank_share >= ALL_BLANK:
            self.left_blank_at_step = None
        elif self.left_blank_at_step is None:
            self.left_blank_at_step = step
        for key in self._totals:
            self._totals[key] += window[key]
        seconds = max(1e-9, sum(self._stage_seconds.values()))
        row = {
            "train/blank_share": blank_share,
            "train/skipped_share": window["skipped"] / max(1.0, window["steps"]),
            "train/audio_seconds_per_update": window["audio_seconds"] * self._ranks / max(1.0, window["steps"]),
            "train/padding_share": 1 - window["audio_seconds"] / max(1e-9, window["padded_seconds"]),
            "train/lr_area": self.lr_area,
        }
        row |= {f"time/{stage}": spent / seconds for stage, spent in self._stage_seconds.items()}
        finite = window["finite_steps"]
        row |= {k: window[k] / finite for k in sorted(window) if finite and k.startswith("grad_norm/")}
        if self._ratios is not None:
            row |= self._ratios.after_step()
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        return row

    def drift(self, trainer: pl.Trainer, pl_module: CtcModule) -> dict[str, float]:
        """How far each part of the model is from where it started."""
        return {} if isinstance(trainer.strategy, FSDPStrategy) else self._start.drift(pl_module.model)

    def totals(self) -> dict[str, Any]:
        """What results.json says of the whole run, up to its last row."""
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
