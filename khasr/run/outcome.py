"""TODO."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from khasr.config import Config, to_plain
from khasr.run.folder import RunFolder

DIVERGED_WER = 1.0
"""What sweepers are told of a run that diverged: as bad as one that writes nothing, so that they keep away."""


# Options that do not change what a run is.
_NOT_THE_RUN = (
    "logger.", "sweep.", "resume", "score_test", "data.num_workers", "data.cache_dir", "trainer.progress_bar",
    "trainer.devices", "trainer.num_nodes",
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- a run


@dataclass(frozen=True)
class Outcome:
    """What came of one of a sweep's runs.

    Attributes:
        status: as results.json has it, or "not begun".
        wer: what sweepers minimise; None where there is none.
        code: the exit code of that run alone.
    """

    status: str
    wer: float | None
    code: int


def read_outcome(folder: Path) -> Outcome | None:
    """What came of the run in that folder, as its results.json says; None without one."""
    try:
        results = RunFolder(folder).read_results()
    except FileNotFoundError:
        return None
    status = results["status"]
    if status == "completed":
        return Outcome(status, float(results["val"]["wer"]), 0)
    return Outcome(status, DIVERGED_WER if status == "diverged" else None, 1)


def is_unfinished(folder: Path, config: Config) -> bool:
    """Whether the folder has a run with these options that stopped on its way and can be gone on with.

    Raises:
        ValueError: the folder has a run with other options.
    """
    run = RunFolder(folder)
    if not run.is_run or not run.results.is_file():
        return False
    there, here = (_flat(to_plain(options)) for options in (run.read_config(), config))
    other = [key for key in there.keys() | here.keys() if there.get(key) != here.get(key)]
    other = sorted(key for key in other if not key.startswith(_NOT_THE_RUN))
    if other:
        raise ValueError(
            f"{folder} has a run with other options: {other[0]} is {there.get(other[0])} there and "
            f"{here.get(other[0])} here{f' ({len(other)} differ)' if len(other) > 1 else ''}. A new run wants a folder "
            "of its own (hydra.run.dir=DIR, of a sweep hydra.sweep.dir=DIR); that run goes on, for longer if wanted, "
            f"with resume={folder} trainer.max_steps=STEPS."
        )
    outcome = read_outcome(folder)
    finished = outcome is not None and outcome.status in ("completed", "diverged")
    return run.last.is_file() and not finished


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _is_of_the_run(key: str) -> bool:
    return not key.lstrip("+").startswith(("logger", *_NOT_THE_RUN))
