"""How a run ended, and whether a folder holds an unfinished run with given options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from khasr.config import Config, to_plain
from khasr.run.folder import RunFolder

DIVERGED_WER = 1.0
"""The WER that sweepers get for a diverged run: that of an empty output, so that they avoid its region."""

# Options that may differ between two starts of the same run.
_NOT_THE_RUN = (
    "logger.", "sweep.", "resume", "score_test", "data.num_workers", "data.cache_dir", "trainer.progress_bar",
    "trainer.devices", "trainer.num_nodes",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Attributes:
        status: as in results.json, or "not begun".
        wer: the value that sweepers minimise; None if the run has none.
        code: the exit code of this run alone.
    """

    status: str
    wer: float | None
    code: int


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome of the run in a folder, from its results.json; None without that file."""
    try:
        results = RunFolder(folder).read_results()
    except FileNotFoundError:
        return None
    status = results["status"]
    if status == "completed":
        return Outcome(status, float(results["val"]["wer"]), 0)
    return Outcome(status, DIVERGED_WER if status == "diverged" else None, 1)


def is_unfinished(folder: Path, config: Config) -> bool:
    """Whether the folder holds a run with these options that was stopped and can be resumed.

    Raises:
        ValueError: the folder holds a run with different options.
    """
    run = RunFolder(folder)
    if not run.is_run or not run.results.is_file():
        return False
    there, here = (_flat(to_plain(options)) for options in (run.read_config(), config))
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
    finished = outcome is not None and outcome.status in ("completed", "diverged")
    return run.last.is_file() and not finished


def is_of_the_run(key: str) -> bool:
    """Whether an option, by its full name or as an override (`+key`), is part of what identifies a run."""
    return not key.lstrip("+").startswith(("logger", *_NOT_THE_RUN))


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
