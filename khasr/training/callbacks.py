"""Rows of metrics during training, and the check that the loss is finite."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from khasr.data.batching import Batch
from khasr.training.instruments import Instruments
from khasr.training.module import CtcModule
from khasr.training.ranks import any_rank
from khasr.training.symptoms import DIVERGED_HELP


class Diverged(Exception):  # noqa: N818 - an outcome of a run, not an error of the program
    """The loss was not finite for many batches in a row."""


class TrainingMetrics(Callback):
    """Logs rows of metrics, counts audio and time, and raises `Diverged` if the loss stays non-finite.

    Attributes:
        audio_seconds: audio trained on so far, without padding, including before a resume. On several ranks: that of
            the first rank times the number of ranks.
        train_seconds: time in training steps, without validation and saving.
        loss: the mean loss in the last row; None before the first.
    """

    def __init__(
        self,
        log_every_steps: int,
        epoch_at: Callable[[int], float],
        nonfinite_patience: int,
        instruments: Instruments,
    ) -> None:
        self._instruments = instruments
        self._log_every_steps = log_every_steps
        self._epoch_at = epoch_at
        self._patience = nonfinite_patience
        self._lr = 0.0
        self._ids: list[str] = []
        self.loss: float | None = None
        self._since = 0.0
        self._window_seconds = 0.0
        self.audio_seconds = 0.0
        self.train_seconds = 0.0

    def state_dict(self) -> dict[str, float]:
        """Counters of the whole run."""
        return {
            "audio_seconds": self.audio_seconds,
            "train_seconds": self.train_seconds,
            "window_seconds": self._window_seconds,
        }

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restores the counters."""
        self.audio_seconds = state_dict["audio_seconds"]
        self.train_seconds = state_dict["train_seconds"]
        self._window_seconds = state_dict["window_seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Stores the lr of this step, before the schedule changes it."""
        top = optimizer.param_groups[0]
        self._lr = top["lr"] / top["layer_scale"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Counts the batch, and writes a row every log_every_steps steps.

        Between rows nothing waits for the device, so that a GPU always has work in its queue.
        """
        assert isinstance(pl_module, CtcModule)
        self.audio_seconds += batch.audio_seconds * trainer.world_size
        step_ended = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        row_is_due = step_ended and trainer.global_step % self._log_every_steps == 0
        self._ids = batch.ids
        window = pl_module.window.over_all_ranks() if row_is_due else None
        now = time.perf_counter()
        self.train_seconds += now - self._since
        self._window_seconds += now - self._since
        self._since = now
        if window is not None:
            self._check_finite(trainer, window)
            self.loss = window["loss"] / window["batches"]
            row = {
                "train/loss": self.loss,
                "train/lr": self._lr,
                "train/grad_norm": window["grad_norm"] / window["finite_steps"] if window["finite_steps"] else math.nan,
                "train/audio_seconds": self.audio_seconds,
                "train/audio_seconds_per_second": window["audio_seconds"] / self._window_seconds,
            }
            self._write(trainer, row | self._instruments.row(trainer.global_step, window))
            pl_module.window.clear()
            self._window_seconds = 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Checks the loss, because the last step may have no row."""
        assert isinstance(pl_module, CtcModule)
        self._check_finite(trainer, pl_module.window.read())

    def _check_finite(self, trainer: pl.Trainer, window: dict[str, float]) -> None:
        """Raises Diverged, on all ranks if the loss of one was not finite for too many batches in a row."""
        most = int(window["most_nonfinite"])
        if any_rank(most >= self._patience):
            raise Diverged(
                f"The loss was not finite for {most} batches in a row, up to step {trainer.global_step:,}. "
                f"{DIVERGED_HELP} The last utterances: {', '.join(self._ids)}."
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the row of the validation, and restarts the clock."""
        assert isinstance(pl_module, CtcModule)
        drift = self._instruments.drift(trainer, pl_module)
        self._write(trainer, {f"val/{key}": value for key, value in pl_module.validation.items()} | drift)
        self._since = time.perf_counter()

    def _write(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        step = trainer.global_step
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": self._epoch_at(step)} | row, step=step)
