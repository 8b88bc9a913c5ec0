"""A check that all processes of a run see its folder."""

import hashlib
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from khasr.run.folder import RunFolder
from khasr.training.ranks import any_rank


class SharedFolder(Callback):
    """Checks, before weights are loaded, that every process sees the folder that the first one writes.

    Each process decides by the run's folder whether the run is resumed. On machines without a shared disk they would
    decide differently, and wait for each other forever.
    """

    def __init__(self, folder: RunFolder, resumes: bool) -> None:
        self._folder = folder
        self._resumes = resumes

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compares what this process sees with what the first one sees; every process has to call this."""
        if trainer.world_size == 1:
            return
        first: Any = trainer.strategy.broadcast(self._seen() if trainer.is_global_zero else None)
        if any_rank(self._seen() != first):
            raise ValueError(
                f"The processes of this run do not all see the same {self._folder.path}: its results.json differs from "
                "that of the first process, or only some of them would resume the run. Put it on a disk that all "
                "machines share, with an absolute path: hydra.run.dir=DIR."
            )

    def _seen(self) -> tuple[bool, str]:
        results = self._folder.results
        return self._resumes, hashlib.sha256(results.read_bytes() if results.is_file() else b"").hexdigest()
