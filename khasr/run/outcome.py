"""How a run ended, and whether a folder holds an unfinished run with given options."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from khasr.config import Config, to_plain
from khasr.run.folder import RunFolder

DIVERGED_WER = math.inf
"""The value that sweepers get for a diverged run: a WER has no upper bound, and every real one is better."""

# Options that may differ between two starts of the same run.
_NOT_THE_RUN = (
    "logger.", "sweep.", "resume", "score_test", "data.num_workers", "data.cache_dir", "trainer.progress_bar",
    "trainer.devices", "trainer.num_nodes", "trainer.keep_last", "trainer.save_every_minutes",
    "model.gradient_checkpointing", "model.compile",
)  # fmt: skip


class Pruned(Exception):  # noqa: N818 - an outcome of a run, not an error of the program
    """The pruner of a search stopped the run.

    Attributes:
        scores: what results.json records: the step and the share of the run, and the best validation so far.
    """

    def __init__(self, pruner: str, scores: dict[str, float]) -> None:
        super().__init__(pruner, scores)
        self.pruner = pruner
        self.scores = scores

    def __str__(self) -> str:
        """The step, and the best WER."""
        s = self.scores
        return (
            f"Pruned by sweep.pruner={self.pruner} at step {s['step']:,} ({s['share']:.0%} of the run): the best WER "
            f"on val so far is {s['wer']:.2%}, at step {s['best_step']:,}."
        )


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Attributes:
        status: as in results.json, or "not begun".
        wer: the value that sweepers minimise, for a pruned run its best so far; None if the run has none.
        code: the exit code of this run alone.
    """

    status: str
    wer: float | None
    code: int

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to run: a repeated sweep skips the run."""
        return self.status in ("completed", "diverged", "pruned")


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome of the run in a folder, from its results.json; None without that file."""
    try:
        results = RunFolder(folder).read_results()
    except FileNotFoundError:
        return None
    status = results["status"]
    if status == "completed":
        return Outcome(status, float(results["val"]["wer"]), 0)
    if status == "pruned":
        return Outcome(status, float(results["pruned"]["wer"]), 0)
    return Outcome(status, DIVERGED_WER if status == "diverged" else None, 1)


def is_unfinished(folder: Path, config: Config) -> bool:
    """Whether the folder holds a run with these options that was stopped and can be resumed.

    Raises:
        ValueError: the folder holds a run with different options.
    """
    run = RunFolder(folder)
    if not run.is_run or not run.results.is_file():
        return False
    there, here = (flat_options(options) for options in (run.read_config(), config))
    different = [key for key in there.keys() | here.keys() if there.get(key) != here.get(key)]
    different = sorted(key for key in different if not key.startswith(_NOT_THE_RUN))
    if different:
        key = different[0]
        raise ValueError(
            f"{folder} contains a run with different options: {key} is {there.get(key)} there and {here.get(key)} here"
            f"{f' ({len(different)} options differ)' if len(different) > 1 else ''}. Give a new run its own folder "
            f"(hydra.run.dir=DIR, or hydra.sweep.dir=DIR for a sweep), or resume that run, for longer if needed, with "
            f"resume={folder} trainer.max_steps=STEPS."
        )
    outcome = read_outcome(folder)
    return run.last.is_file() and not (outcome is not None and outcome.finished)


def is_of_the_run(key: str) -> bool:
    """Whether an option, by its full name or as an override (`+key`), is part of what identifies a run."""
    return not key.lstrip("+").startswith(("logger", *_NOT_THE_RUN))


def flat_options(config: Config) -> dict[str, Any]:
    """The values of all options, by their full names."""
    return _flat(to_plain(config))


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
