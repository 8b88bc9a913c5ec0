"""Checkpoints: the best weights, and everything that resuming needs."""

import os
import signal
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from khasr.optim.schedules import in_steps
from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted, StopSignals
from khasr.training.module import CtcModule
from khasr.training.ranks import any_rank

# The entries that Lightning and khasr's callbacks restore.
_RESUMING = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "global_step", "window")


class WholeFileIO(TorchCheckpointIO):
    """Writes checkpoints atomically: to a temporary file that is synced and renamed.

    Lightning's own writer builds the whole file in memory first.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes the checkpoint; a killed process leaves a `.partial` file and the previous checkpoint."""
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
            # torch reports a full disk as a RuntimeError, whose context is the OSError.
            if isinstance(error.__context__, OSError):
                raise OSError(error.__context__.errno, error.__context__.strerror, str(path)) from error
            raise
        finally:
            partial.unlink(missing_ok=True)  # on a full disk, results.json needs the space

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint, memory-mapped, so that its tensors are not held in memory twice."""
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return loaded


def check_resumable(path: Path) -> None:
    """Checks that a checkpoint has everything that resuming requires except the weights; `load_start` checks those.

    Raises:
        ValueError: it cannot be read, or lacks a part.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        missing = [key for key in _RESUMING if key not in checkpoint]
    except PermissionError:
        raise
    except (RuntimeError, EOFError, UnpicklingError, ValueError, TypeError, KeyError, OSError) as error:
        # OSError: the mapping of a file that is cut
        reason = " ".join(str(error).split(". ")[0].split())
        raise ValueError(f"{path} is not a complete checkpoint: it cannot be read ({reason}).") from error
    if missing:
        raise ValueError(f"{path} cannot be resumed: it has no {', '.join(missing)}. Expected a last.ckpt of khasr.")


class Checkpoints(Checkpoint):
    """Writes `best.ckpt` (weights) and `last.ckpt` (everything that resuming needs), and stops the run on request.

    Both are written after a validation and renamed together, so that they agree on the best step; Lightning's
    ModelCheckpoint writes last.ckpt before it. The run stops between two optimizer steps, because partly accumulated
    gradients are not in a checkpoint. Lightning calls checkpoint callbacks after all others.
    """

    def __init__(
        self, folder: RunFolder, stop: StopSignals, val_every_steps: float, total_steps: int, keep: int = 1
    ) -> None:
        """For a run of `total_steps` steps, of which `val_every_steps` may be a share (`in_steps`).

        Keeps the weights of the `keep` best validations if more than 1.
        """
        self._folder = folder
        self._stop = stop
        self._val_every_steps = max(1, in_steps(val_every_steps, total_steps))
        self._total_steps = total_steps
        # WER, CER and loss: many early validations have a WER of 1, so CER and loss break ties.
        self.best: list[float] | None = None
        self.best_step: int | None = None
        self._keep = keep
        # `best` of each kept step followed by the step; best first.
        self.kept: list[list[float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The best validations so far."""
        return {"best": self.best, "best_step": self.best_step, "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.kept = state_dict.get("kept", [])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replaces Lightning's signal handlers, which stop in the middle of an accumulation, and removes leftovers."""
        self._stop.install()
        self._stop.training = True
        if trainer.is_global_zero:
            kept = {self._folder.kept(int(row[-1])) for row in self.kept}
            for path in set(self._folder.checkpoints.glob("kept_*.ckpt")) - kept:
                path.unlink()  # of a process that was killed before last.ckpt referred to it

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a signal stops the run immediately."""
        self._stop.training = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Makes Lightning validate after this batch if it ends an optimizer step that is due for validation.

        Lightning counts batches, and does not validate the last step unless it is a multiple of its interval.
        """
        accumulate = trainer.accumulate_grad_batches
        step, rest = divmod(batch_idx + 1, accumulate)
        due = rest == 0 and (step % self._val_every_steps == 0 or step == self._total_steps)
        # Lightning validates when the number of batches is a multiple of this; none is a multiple of infinity.
        trainer.val_check_batch = batch_idx + 1 if due else float("inf")
        self._due = due

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stops the run if requested; if a validation is due, `on_validation_end` does."""
        step_ended = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if step_ended and not self._due and self._stop_requested():
            trainer.save_checkpoint(self._folder.last)
            raise Interrupted(self._stop.requested or signal.SIGTERM)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes best.ckpt if this validation is the best, then last.ckpt; stops the run if requested."""
        assert isinstance(pl_module, CtcModule)
        found = [pl_module.validation[key] for key in ("wer", "cer", "loss")]
        best, last = self._folder.pending(self._folder.best), self._folder.pending(self._folder.last)
        try:
            if self.best is None or found < self.best:
                self.best, self.best_step = found, trainer.global_step
                trainer.save_checkpoint(best, weights_only=True)
            dropped = self._keep_weights(trainer, found) if self._keep > 1 else []
            trainer.save_checkpoint(last)
        except OSError:
            best.unlink(missing_ok=True)  # on a full disk, results.json needs the space
            raise
        if trainer.is_global_zero:
            self._folder.recover_checkpoints()  # renames both
            for step in dropped:  # only after last.ckpt no longer refers to them
                self._folder.kept(step).unlink(missing_ok=True)
        if self._stop_requested():
            raise Interrupted(self._stop.requested or signal.SIGTERM)

    def _stop_requested(self) -> bool:
        """Whether any rank got a stop signal: all ranks have to stop after the same step."""
        return any_rank(self._stop.requested is not None)

    def _keep_weights(self, trainer: pl.Trainer, found: list[float]) -> list[int]:
        """Writes the weights if they are among the `keep` best; returns the steps that no longer are."""
        self.kept = sorted([*self.kept, [*found, trainer.global_step]])
        dropped = [int(row[-1]) for row in self.kept[self._keep :]]
        self.kept = self.kept[: self._keep]
        if trainer.global_step not in dropped:
            trainer.save_checkpoint(self._folder.kept(trainer.global_step), weights_only=True)
        return dropped
