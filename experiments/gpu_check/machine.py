"""What a check runs on, how it trains, and what a case finds."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from khasr.run.folder import RunFolder

# Synthetic phrases and the tiny model, whose steps take less time than loading them.
TRAINING = [
    "experiment=quickstart", "data.utterances=120", "trainer.max_steps=20", "trainer.val_every_steps=10",
    "trainer.log_every_steps=5", "trainer.progress_bar=false", "score_test=false", "schedule=constant",
    "model.compile=false",  # takes longer than these runs
]  # fmt: skip
REDUCED = ["data.utterances=40", "trainer.max_steps=4", "trainer.val_every_steps=2", "trainer.log_every_steps=2"]


@dataclass(frozen=True)
class Found:
    """The result of a case: whether it is good (None: not run), a sentence, and numbers."""

    passed: bool | None
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """What a check runs on.

    Attributes:
        gpus: number of GPUs; 0 for the reduced check.
        scratch: a folder for runs.
        train: trains with options in a folder; returns an exit code and a message.
        training: options of every run.
        longest_seconds: of a process.
    """

    gpus: int
    scratch: Path
    train: Callable[[list[str], Path], tuple[int, str]]
    training: tuple[str, ...] = ()
    longest_seconds: int = 300

    def options(self, *options: str) -> list[str]:
        """The options of a run."""
        where = ["trainer.accelerator=gpu"] if self.gpus else ["trainer.accelerator=cpu", *REDUCED]
        return [*TRAINING, *where, *self.training, *options]

    def run(self, name: str, *options: str) -> tuple[int, str, Path]:
        """Trains; the folder is that of the name."""
        folder = self.scratch / name
        code, message = self.train(self.options(*options), folder)
        return code, message, folder


def read_results(folder: Path) -> dict[str, Any]:
    """The contents of results.json."""
    return RunFolder(folder).read_results()


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv."""
    with RunFolder(folder).metrics.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def last_line(message: str) -> str:
    """The last line of what a process printed."""
    return (message.splitlines() or ["no message"])[-1][:300]
