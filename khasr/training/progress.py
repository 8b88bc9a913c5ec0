"""The progress of training: a bar in a terminal, lines elsewhere."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from khasr.data.batching import Batch
from khasr.training.callbacks import TrainingMetrics
from khasr.training.module import CtcModule


class Progress(Callback):
    """A bar over the optimizer steps of the run in a terminal, a line every 20 s elsewhere.

    Shows the loss of the last row of metrics, the speed, the remaining time and the last WER on val. Lightning's bars
    count batches of an epoch, and without a terminal TQDMProgressBar writes a line at every refresh and RichProgressBar
    writes nothing.
    """

    _LINE_EVERY_SECONDS = 20

    def __init__(self, total_steps: int, metrics: TrainingMetrics) -> None:
        self._total_steps = total_steps
        self._metrics = metrics
        self._bar: Any = None
        self._last_line = 0.0
        self._begun = (0.0, 0)
        self._wer = ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar at the current step."""
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
        """Updates the bar after an optimizer step."""
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
        """Stores the WER that is shown."""
        assert isinstance(pl_module, CtcModule)
        self._wer = f", val WER {100 * pl_module.validation['wer']:.1f} %"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Closes the bar, so that the next message starts on its own line."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _state(self) -> str:
        speed = self._metrics.audio_seconds / max(self._metrics.train_seconds, 1e-9)
        loss = "-" if self._metrics.loss is None else f"{self._metrics.loss:.3f}"
        return f"loss {loss}, {speed:.0f} s of audio/s{self._wer}"
