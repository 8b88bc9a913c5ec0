"""Checkpoints: the best weights, and everything that resuming needs."""

import signal
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from khasr.optim.schedules import in_steps
from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted, StopSignals
from khasr.training.checkpoint_files import CheckpointFiles
from khasr.training.module import CtcModule
from khasr.training.ranks import sum_over_ranks

# The entries that Lightning and khasr's callbacks restore.
_RESUMING = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "global_step", "window")


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
    ModelCheckpoint writes last.ckpt before it. Between validations last.ckpt is written by time. The run stops between
    two optimizer steps, because partly accumulated gradients are not in a checkpoint. Lightning calls checkpoint
    callbacks after all others.
    """

    def __init__(
        self,
        folder: RunFolder,
        stop: StopSignals,
        files: CheckpointFiles,
        *,
        val_every_steps: float,
        total_steps: int,
        save_every_minutes: float | None = None,
        keep: int = 1,
    ) -> None:
        """For a run of `total_steps` steps, of which `val_every_steps` may be a share (`in_steps`).

        Args:
            files: the trainer's plugin that writes checkpoints.
            save_every_minutes: minutes without a checkpoint after which last.ckpt is written; None: never.
            keep: the number of best validations whose weights are kept, if more than 1.
        """
        self._files = files
        self._save_every_seconds = None if save_every_minutes is None else 60 * save_every_minutes
        self._saved_at = 0.0
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
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            kept = {self._folder.kept(int(row[-1])) for row in self.kept}
            for path in set(self._folder.checkpoints.glob("kept_*.ckpt")) - kept:
                path.unlink()  # of a process that was killed before last.ckpt referred to it

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a signal stops the run immediately."""
        self._finish_writing()
        self._stop.training = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Completes a checkpoint that is being written, before the run's folder is tidied."""
        self._files.join()

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
        """Saves and stops the run if requested, or saves if it is time; if validation is due, that does."""
        step_ended = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if not step_ended or self._due:
            return
        if not self._files.busy:
            self._finish_writing()  # which raises if the thread failed
        stop, save = self._any_rank(trainer.is_global_zero and self._save_is_due())
        if stop or save:
            self._save(trainer)
        if stop:
            self._finish_writing()
            raise Interrupted(self._stop.requested or signal.SIGTERM)

    def _save_is_due(self) -> bool:
        """Whether last.ckpt is too old, and the one before has been written."""
        if self._save_every_seconds is None or self._files.busy:
            return False
        return time.monotonic() - self._saved_at >= self._save_every_seconds

    def _save(self, trainer: pl.Trainer) -> None:
        """Writes last.ckpt, of a step without validation."""
        trainer.save_checkpoint(self._folder.last)
        self._saved_at = time.monotonic()

    def _finish_writing(self) -> None:
        """Waits until all checkpoints are complete."""
        try:
            self._files.wait()
        except OSError:
            self._folder.pending(self._folder.best).unlink(missing_ok=True)
            raise

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes best.ckpt if this validation is the best, then last.ckpt; stops the run if requested."""
        assert isinstance(pl_module, CtcModule)
        found = [pl_module.validation[key] for key in ("wer", "cer", "loss")]
        best, last = self._folder.pending(self._folder.best), self._folder.pending(self._folder.last)
        self._finish_writing()
        try:
            if self.best is None or found < self.best:
                self.best, self.best_step = found, trainer.global_step
                trainer.save_checkpoint(best, weights_only=True)
            dropped = self._keep_weights(trainer, found) if self._keep > 1 else []
            trainer.save_checkpoint(last)
        except OSError:
            best.unlink(missing_ok=True)  # on a full disk, results.json needs the space
            raise
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            self._files.then(lambda: self._replace(dropped))
        if self._any_rank(False)[0]:
            self._finish_writing()
            raise Interrupted(self._stop.requested or signal.SIGTERM)

    def _replace(self, dropped: list[int]) -> None:
        """Replaces both checkpoints by those of a validation, and deletes weights that are no longer kept."""
        self._folder.recover_checkpoints()  # renames both
        for step in dropped:  # only after last.ckpt no longer refers to them
            self._folder.kept(step).unlink(missing_ok=True)

    def _any_rank(self, save_is_due: bool) -> tuple[bool, bool]:
        """Whether any rank got a stop signal, and whether it is time to save: all ranks have to do both together."""
        stop, save = sum_over_ranks([float(self._stop.requested is not None), float(save_is_due)])
        return stop > 0, save > 0

    def _keep_weights(self, trainer: pl.Trainer, found: list[float]) -> list[int]:
        """Writes the weights if they are among the `keep` best; returns the steps that no longer are."""
        self.kept = sorted([*self.kept, [*found, trainer.global_step]])
        dropped = [int(row[-1]) for row in self.kept[self._keep :]]
        self.kept = self.kept[: self._keep]
        if trainer.global_step not in dropped:
            trainer.save_checkpoint(self._folder.kept(trainer.global_step), weights_only=True)
        return dropped
