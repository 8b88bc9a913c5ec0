"""Checkpoints: the best weights, and all that going on needs."""

import os
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted, StopSignals
from khasr.training.module import CtcModule


class WholeFileIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, syncs it and renames it: the file before stays until the new one is whole.

    Lightning's own writer builds the whole file in memory first.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes the checkpoint; a process killed midway leaves a `.partial` file and the checkpoint before."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except RuntimeError as error:
            # torch answers a full disk with one of its own, and keeps the disk's word behind it.
            if isinstance(error.__context__, OSError):
                raise OSError(error.__context__.errno, error.__context__.strerror, str(path)) from error
            raise
        finally:
            partial.unlink(missing_ok=True)  # on a full disk the results need its room

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint, mapped: its pages are read as they are used, and never held beside what is made of them."""
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return loaded


class Checkpoints(Checkpoint):
    """Keeps `best.ckpt` (weights alone) and `last.ckpt` (all that resuming needs), and stops the run when asked.

    Both are written after a validation, so that what they know of the best is the same; Lightning's ModelCheckpoint
    would write last.ckpt before it. A stop is between two optimizer steps, since gradients that are half accumulated
    are in no checkpoint. Lightning calls checkpoint callbacks after all others.
    """

    def __init__(
        self, folder: RunFolder, stop: StopSignals, val_every_steps: int, total_steps: int, keep: int = 1
    ) -> None:
        """For a run of that many steps; the weights of the `keep` best validations are kept, where more than one."""
        self._folder = folder
        self._stop = stop
        self._val_every_steps = val_every_steps
        self._total_steps = total_steps
        # WER first; many first validations have WER 1, so CER and loss break ties.
        self.best: list[float] | None = None
        self.best_step: int | None = None
        self._keep = keep
        # As `best`, and their step last; best first.
        self.kept: list[list[float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {"best": self.best, "best_step": self.best_step, "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it up again."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.kept = state_dict.get("kept", [])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over from Lightning, whose own way is to stop in the middle of an accumulation."""
        self._stop.install()
        self._stop.training = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """No step is left to finish."""
        self._stop.training = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Has Lightning validate after this batch if it ends an optimizer step that is to be validated.

        Lightning counts batches and would leave the run's last step unvalidated; here steps are counted.
        """
        accumulate = trainer.accumulate_grad_batches
        step, rest = divmod(batch_idx + 1, accumulate)
        due = rest == 0 and (step % self._val_every_steps == 0 or step == self._total_steps)
        # Validation comes where the count of batches is a multiple of this; no count is one of infinity.
        trainer.val_check_batch = batch_idx + 1 if due else float("inf")
        self._due = due

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stops here if asked to; where a validation is due, after that."""
        step_ended = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if step_ended and not self._due and self._asked_to_stop(trainer):
            trainer.save_checkpoint(self._folder.last)
            raise Interrupted(self._stop.requested or signal.SIGTERM)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the best weights if these are, then the last; stops if asked to."""
        assert isinstance(pl_module, CtcModule)
        found = [pl_module.validation[key] for key in ("wer", "cer", "loss")]
        if self.best is None or found < self.best:
            self.best, self.best_step = found, trainer.global_step
            trainer.save_checkpoint(self._folder.best, weights_only=True)
        dropped = self._keep_weights(trainer, found) if self._keep > 1 else []
        trainer.save_checkpoint(self._folder.last)
        for step in dropped:  # not before last.ckpt has forgotten them
            self._folder.kept(step).unlink(missing_ok=True)
        if self._asked_to_stop(trainer):
            raise Interrupted(self._stop.requested or signal.SIGTERM)

    def _asked_to_stop(self, trainer: pl.Trainer) -> bool:
        """Whether any rank was: all stop after the same step, since each waits for the others."""
        asked: bool = trainer.strategy.reduce_boolean_decision(self._stop.requested is not None, all=False)
        return asked

    def _keep_weights(self, trainer: pl.Trainer, found: list[float]) -> list[int]:
        """Writes the weights if they are among the best; returns the steps of those that are so no longer."""
        self.kept = sorted([*self.kept, [*found, trainer.global_step]])
        dropped = [int(row[-1]) for row in self.kept[self._keep :]]
        self.kept = self.kept[: self._keep]
        if trainer.global_step not in dropped:
            trainer.save_checkpoint(self._folder.kept(trainer.global_step), weights_only=True)
        return dropped
