"""Files of checkpoints: written whole or not at all, at once or in a thread."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from khasr.run.memory import available_memory_gib


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


class CheckpointFiles(WholeFileIO):
    """Writes checkpoints in the order in which they are saved, with `in_background` in a thread, from copies.

    Training on a GPU continues while a copy in CPU memory is written. Lightning's AsyncCheckpointIO copies on the GPU,
    can have any number of checkpoints waiting, and has no action after a file is complete.
    """

    def __init__(self, in_background: bool) -> None:
        super().__init__()
        # Python joins its thread when the process ends.
        self._thread = ThreadPoolExecutor(1, "checkpoints") if in_background else None
        self._latest: Future[None] | None = None
        self._error: BaseException | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes the checkpoint, or copies it and has it written; `wait` raises the errors of the thread."""
        save = super().save_checkpoint
        # A copy may be too large for the memory of the CPU.
        if self._thread is None or _size(checkpoint) > available_memory_gib() / 2 * 2**30:
            self.wait()
            save(checkpoint, path, storage_options)
            return
        copy = apply_to_collection(checkpoint, Tensor, lambda tensor: tensor.detach().to("cpu", copy=True))
        self._submit(self._thread, lambda: save(copy, path, storage_options))

    def then(self, action: Callable[[], None]) -> None:
        """Runs the action when all checkpoints that were saved before are complete."""
        if self._thread is None:
            action()
        else:
            self._submit(self._thread, action)

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._latest is not None and not self._latest.done()

    def wait(self) -> None:
        """Waits until all checkpoints are complete; raises the error after which the thread has written nothing."""
        self.join()
        if self._error is not None:
            raise self._error

    def join(self) -> None:
        """Waits until the thread has nothing to do."""
        if self._latest is not None:
            self._latest.result()

    def _submit(self, thread: ThreadPoolExecutor, job: Callable[[], None]) -> None:
        def run() -> None:
            try:
                if self._error is None:
                    job()
            except BaseException as error:  # raised where training can end
                self._error = error

        self._latest = thread.submit(run)


def _size(checkpoint: dict[str, Any]) -> int:
    """Bytes of the tensors of a checkpoint."""
    sizes: list[int] = []
    apply_to_collection(checkpoint, Tensor, lambda tensor: sizes.append(tensor.nbytes))
    return sum(sizes)
