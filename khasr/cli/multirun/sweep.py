"""The state of a sweep: its folder, the names and outcomes of its runs, its time budget."""

import atexit
import copy
import hashlib
import re
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from khasr.cli.errors import MISTAKE
from khasr.cli.resume import parse_overrides
from khasr.config import Config
from khasr.run.outcome import Outcome
from khasr.text.counting import counted

_HYDRA_SUBDIR = "${hydra.job.num}"  # Hydra's default


def folder_name(overrides: Sequence[str], sweep: Sequence[str]) -> str:
    """The name of a run's folder: the overrides that vary within the sweep, and a hash of all overrides.

    It does not depend on their order or on options of `sweep` and `logger`, and needs no quotes in Hydra's grammar.

    Args:
        overrides: the overrides of the run.
        sweep: the overrides of the sweep's command.
    """
    kept = sorted(o for o in overrides if not o.startswith(("sweep.", "logger", "trainer.progress_bar")))
    common = [o.get_key_element() for o in parse_overrides(sweep) if not o.is_sweep_override()]
    own = [o for o in overrides if o in kept and o.partition("=")[0] not in common]
    words = "_".join(f"{key.rsplit('.', 1)[-1]}-{value}" for key, _, value in (o.partition("=") for o in own))
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", words)[:80].strip("_.") or "run"
    return f"{readable}_{hashlib.sha256(chr(10).join(kept).encode()).hexdigest()[:8]}"


@dataclass
class Sweep:
    """The state of a sweep.

    Attributes:
        folder: contains the folders of the runs.
        outcomes: outcomes of the runs, by the name of their folder.
        overrides: the overrides of each run.
        before: names of the runs that were finished by an earlier start.
        until: the end of its time budget, in seconds since 1970.
    """

    folder: Path = Path()
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)
    overrides: dict[str, list[str]] = field(default_factory=dict)
    until: float | None = None

    def begin(self, config: DictConfig) -> None:
        """Locks the sweep's folder until this process ends, and starts the time budget.

        Raises:
            ValueError: a second process uses the folder, or hydra.sweep.subdir is set.
        """
        self.folder = Path(config.hydra.sweep.dir)
        subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload, index]
        if subdir != _HYDRA_SUBDIR:
            raise ValueError(
                f"hydra.sweep.subdir={subdir}: khasr names the folders of a sweep's runs by their overrides, so that "
                "the same command finds them again. Set hydra.sweep.dir=DIR, which contains all of them."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if config.sweep.max_hours is not None:
            self.until = time.time() + 3600 * config.sweep.max_hours
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"{self.folder} contains a running sweep, and two would write to the same folders. Wait for it, or set "
                "a different hydra.sweep.dir."
            ) from None
        atexit.register(lock.release)  # not an attribute, because launchers pickle the sweep

    def add(self, name: str, overrides: Sequence[str], outcome: Outcome, before: bool) -> None:
        """Adds a run, or replaces its outcome; `before`: an earlier start ran it."""
        if before and outcome.finished and name not in self.outcomes:  # a search may request the same run twice
            self.before.add(name)
        self.outcomes[name] = outcome
        self.overrides[name] = list(overrides)

    @property
    def code(self) -> int:
        """The sweep's exit code: the highest of its runs."""
        return max((outcome.code for outcome in self.outcomes.values()), default=0)

    def describe(self) -> str:
        """A summary: a table of the runs, the number of runs by status, the best run, and the command of the report."""
        from khasr.cli.multirun.table import describe_runs  # imports rich

        counts = Counter(outcome.status for outcome in self.outcomes.values())
        lines = [describe_runs(self.folder, self.outcomes, self.overrides)] if len(self.outcomes) > 1 else []
        statuses = ", ".join(f"{n} {s}" for s, n in counts.items())
        lines += [f"{counted(len(self.outcomes), 'run')} in {self.folder}: {statuses}"]
        if self.before:
            lines[-1] += f"; {len(self.before)} of them had finished before"
        scored = [(o.wer, name) for name, o in self.outcomes.items() if o.status == "completed" and o.wer is not None]
        if scored:
            wer, name = min(scored)
            lines.append(f"Lowest WER on val: {wer:.2%}, {name}")
        if len(scored) > 1:
            lines.append(f"Compare the runs: python -m khasr.report {shlex.quote(str(self.folder))}")
        unfinished = [outcome for outcome in self.outcomes.values() if not outcome.finished]
        if any(outcome.code != MISTAKE for outcome in unfinished):
            lines.append("Repeat the command to run the unfinished runs.")
        elif unfinished:
            lines.append(
                f"{counted(len(unfinished), 'run')} refused, with the reason above: repeating changes nothing."
            )
        return "\n".join(lines)


class SweepEnded(Exception):  # noqa: N818 - a requested end, not an error
    """No further run starts: the time budget is spent, or a signal stopped a run."""


def unresolved(overrides: Any) -> list[str]:
    """Overrides as written: an interpolation can have a different value in each run."""
    return list(OmegaConf.to_container(overrides, resolve=False) or [])


def for_sweep(config: Config) -> Config:
    """The options of a run of a sweep: it does not read the test part, has the sweep's time budget, is not extended."""
    config = copy.deepcopy(config)
    config.score_test = False
    config.sweep.max_hours = config.sweep.until = None
    if config.trainer.keep_last == "auto":
        config.trainer.keep_last = "never"
    return config
