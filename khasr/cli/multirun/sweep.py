"""TODO."""

import atexit
import copy
import hashlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from khasr.config import Config
from khasr.run.outcome import Outcome

_HYDRA_SUBDIR = "${hydra.job.num}"  # what Hydra has where nobody chose


def folder_name(overrides: Sequence[str], sweep: Sequence[str]) -> str:
    """A name for a run's folder: what it does not have in common with the sweep's others, and a hash of all of it.

    It is the same however the overrides are ordered and whatever `sweep.` and `logger` say, and Hydra's grammar takes
    it without quotes.

    Args:
        overrides: of the run.
        sweep: the overrides that the sweep was started with.
    """
    kept = sorted(o for o in overrides if not o.startswith(("sweep.", "logger", "trainer.progress_bar")))
    common = [
        o.get_key_element() for o in OverridesParser.create().parse_overrides(list(sweep)) if not o.is_sweep_override()
    ]
    own = [o for o in overrides if o in kept and o.partition("=")[0] not in common]
    words = "_".join(f"{key.rsplit('.', 1)[-1]}-{value}" for key, _, value in (o.partition("=") for o in own))
    told = re.sub(r"[^A-Za-z0-9.-]+", "_", words)[:80].strip("_.") or "run"
    return f"{told}_{hashlib.sha256(chr(10).join(kept).encode()).hexdigest()[:8]}"


# ------------------------------------------------------------------------------------------------------------- a sweep


@dataclass
class Sweep:
    """A sweep as it goes.

    Attributes:
        folder: of all its runs.
        outcomes: by the name of the run's folder.
        before: names of those that an earlier start had finished.
        until: when its budget is spent, in seconds since 1970.
    """

    folder: Path = Path()
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)
    until: float | None = None

    def begin(self, config: DictConfig) -> None:
        """Takes the sweep's folder, for as long as this process lives; the budget begins.

        Raises:
            ValueError: another process has the folder, or the runs' folders were given names.
        """
        self.folder = Path(config.hydra.sweep.dir)
        subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload, index]
        if subdir != _HYDRA_SUBDIR:
            raise ValueError(
                f"hydra.sweep.subdir={subdir}: khasr itself names the folders of a sweep's runs, by their overrides, "
                "so that the same command again finds them. hydra.sweep.dir=DIR names the folder of all of them."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if config.sweep.max_hours is not None:
            self.until = time.time() + 3600 * config.sweep.max_hours
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"{self.folder} has a sweep that is running: two would write to the same folders. Wait for it, or "
                "take another hydra.sweep.dir."
            ) from None
        atexit.register(lock.release)  # held until then; not kept here, since launchers pickle what is

    @property
    def code(self) -> int:
        """The sweep's exit code: the worst of its runs'."""
        return max((outcome.code for outcome in self.outcomes.values()), default=0)

    def describe(self) -> str:
        """How many runs ended how, and the best."""
        counts = Counter(outcome.status for outcome in self.outcomes.values())
        lines = [f"{len(self.outcomes)} runs in {self.folder}: {', '.join(f'{n} {s}' for s, n in counts.items())}"]
        if self.before:
            lines[0] += f"; {len(self.before)} of them were finished before"
        scored = [(o.wer, name) for name, o in self.outcomes.items() if o.status == "completed" and o.wer is not None]
        if scored:
            wer, name = min(scored)
            lines.append(f"The lowest WER on val: {wer:.2%}, {name}")
        if set(counts) - {"completed", "diverged"}:
            lines.append("The same command again runs what is missing.")
        return "\n".join(lines)


class SweepEnded(Exception):  # noqa: N818 - what happened, not an error
    """The sweep begins no further run: its budget is spent, or a signal stopped one."""


def as_given(overrides: Any) -> list[str]:
    """Overrides as they were written: what they refer to is another thing in each run."""
    return list(OmegaConf.to_container(overrides, resolve=False) or [])


def as_part_of_a_sweep(config: Config) -> Config:
    """The options of a sweep's run: it does not read the test part, and its budget is the sweep's."""
    config = copy.deepcopy(config)
    config.score_test = False
    config.sweep = type(config.sweep)()
    return config
