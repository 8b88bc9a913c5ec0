"""What is written down and shown while a run trains."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from khasr.data.batching import Batch
from khasr.model.module import CtcModule, new_window
from khasr.training.instruments import Instruments
from khasr.training.symptoms import DIVERGED_HELP


class Diverged(Exception):  # noqa: N818 - what happened, not an error
    """The loss was not finite for many batches in a row."""


class TrainingMetrics(Callback):
    """Rows of metrics, the audio and time of training, and the watch over the loss.

    Attributes:
        audio_seconds: trained on in all, padding not counted, over all of the run's sessions; of several ranks, the
            first one's times their number.
        train_seconds: in training steps, validation and saving not counted.
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
        self._nonfinite = 0
        self._lr = 0.0
        self._since = 0.0
        self._window_seconds = 0.0
        self.audio_seconds = 0.0
        self.train_seconds = 0.0

    def state_dict(self) -> dict[str, float]:
        """What is counted over the whole run."""
        return {
            "audio_seconds": self.audio_seconds,
            "train_seconds": self.train_seconds,
            "window_seconds": self._window_seconds,
            "nonfinite": self._nonfinite,
        }

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Takes it up again."""
        self.audio_seconds = state_dict["audio_seconds"]
        self.train_seconds = state_dict["train_seconds"]
        self._window_seconds = state_dict["window_seconds"]
        self._nonfinite = int(state_dict["nonfinite"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Remembers the lr that the step is taken with; afterwards the schedule has moved on."""
        top = optimizer.param_groups[0]
        self._lr = top["lr"] / top["layer_scale"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Counts the batch, and writes a row where one is due."""
        assert isinstance(pl_module, CtcModule)
        now = time.perf_counter()
        self.train_seconds += now - self._since
        self._window_seconds += now - self._since
        self._since = now
        self.audio_seconds += batch.audio_seconds * trainer.world_size
        # One rank's loss is enough, and all have to stop with it.
        finite = trainer.strategy.reduce_boolean_decision(math.isfinite(pl_module.last_loss))
        self._nonfinite = 0 if finite else self._nonfinite + 1
        if self._nonfinite >= self._patience:
            raise Diverged(
                f"The loss was not finite for {self._nonfinite} batches in a row, up to step {trainer.global_step:,}. "
                f"{DIVERGED_HELP} The last utterances: {', '.join(batch.ids)}."
            )
        step_ended = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if step_ended and trainer.global_step % self._log_every_steps == 0:
            window = pl_module.window_of_all_ranks()
            row = {
                "train/loss": window["loss"] / window["batches"],
                "train/lr": self._lr,
                "train/grad_norm": window["grad_norm"] / window["finite_steps"] if window["finite_steps"] else math.nan,
                "train/audio_seconds": self.audio_seconds,
                "train/audio_seconds_per_second": window["audio_seconds"] / self._window_seconds,
            }
            self._write(trainer, row | self._instruments.row(trainer.global_step, window))
            pl_module.window = new_window()
            self._window_seconds = 0.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the validation's row; the clock goes on from here."""
        assert isinstance(pl_module, CtcModule)
        drift = self._instruments.drift(trainer, pl_module)
        self._write(trainer, {f"val/{key}": value for key, value in pl_module.validation.items()} | drift)
        self._since = time.perf_counter()

    def _write(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        step = trainer.global_step
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": self._epoch_at(step)} | row, step=step)


class Progress(Callback):
    """A bar over the whole run in a terminal, a line now and then elsewhere: loss, speed, time left, last WER."""

    _LINE_EVERY_SECONDS = 20

    def __init__(self, total_steps: int, metrics: TrainingMetrics) -> None:
        self._total_steps = total_steps
        self._metrics = metrics
        self._bar: Any = None
        self._last_line = 0.0
        self._begun = (0.0, 0)
        self._loss: float | None = None
        self._wer = ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar where the run stands."""
        self._begun = (time.perf_counter(), trainer.global_step)
        self._last_line = time.perf_counter()
        if trainer.is_global_zero and sys.stderr.isatty():
            self._bar = tqdm(
                total=self._total_steps,
                initial=trainer.global_step,
                unit="step",
                dynamic_ncols=True,
                bar_format="{l_bar}{bar}| step {n_fmt}/{total_fmt} {elapsed}, {remaining} left{postfix}",
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Moves on."""
        assert isinstance(pl_module, CtcModule)
        if math.isfinite(pl_module.last_loss):
            before = self._loss if self._loss is not None else pl_module.last_loss
            self._loss = 0.95 * before + 0.05 * pl_module.last_loss
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if self._bar is not None:
            self._bar.set_postfix_str(self._state(), refresh=False)
            self._bar.update()
        elif trainer.is_global_zero and time.perf_counter() - self._last_line > self._LINE_EVERY_SECONDS:
            self._last_line = time.perf_counter()
            start, first = self._begun
            done = trainer.global_step - first
            left = (self._last_line - start) / done * (self._total_steps - trainer.global_step)
            print(
                f"step {trainer.global_step:,}/{self._total_steps:,}, {self._state()}, "
                f"{int(left) // 60}:{int(left) % 60:02d} left",
                file=sys.stderr,
                flush=True,
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remembers the WER for the line."""
        assert isinstance(pl_module, CtcModule)
        self._wer = f", val WER {100 * pl_module.validation['wer']:.1f} %"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Closes the bar, so that what is said next stands on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _state(self) -> str:
        speed = self._metrics.audio_seconds / max(self._metrics.train_seconds, 1e-9)
        loss = "-" if self._loss is None else f"{self._loss:.3f}"
        return f"loss {loss}, {speed:.0f} s of audio/s{self._wer}"
