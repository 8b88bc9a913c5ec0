"""Many runs from one command: each in a folder of its own, of which a second start runs only what is missing.

Hydra's sweepers say which runs there are, its launchers where they are made. `ResumingLauncher` stands between the two:
it names the folders, leaves out what is finished, keeps the budget and counts what came of it. Nothing here imports
torch.
"""

import atexit
import copy
import hashlib
import json
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from khasr.config import Config, read_config, to_config, to_plain

BUDGET_SPENT = 142
"""128 + SIGALRM, which ends a run when `sweep.max_hours` are over."""
DIVERGED_WER = 1.0
"""What sweepers are told of a run that diverged: as bad as one that writes nothing, so that they keep away."""

_HYDRA_SUBDIR = "${hydra.job.num}"  # what Hydra has where nobody chose

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
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
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
    if not (folder / "config.yaml").is_file() or not (folder / "results.json").is_file():
        return False
    there, here = (_flat(to_plain(options)) for options in (read_config(folder), config))
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
    return (folder / "checkpoints" / "last.ckpt").is_file() and not finished


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


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


class ResumingLauncher(Launcher):
    """Another launcher, given only what is not finished; returns what sweepers minimise."""

    def __init__(self, launcher: Launcher, sweep: Sweep, config: DictConfig, hydra_context: HydraContext) -> None:
        self._launcher = launcher
        self._sweep = sweep
        self._config = config
        self._context = hydra_context

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing: the launcher within has been set up."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Makes the runs that are missing.

        Returns:
            For each run its WER on val: NaN where it failed, which Optuna takes as a failed trial.

        Raises:
            SweepEnded: no further run is to begin.
        """
        sweep = self._sweep
        missing: dict[str, list[str]] = {}
        names = []
        for overrides in job_overrides:
            name = self._name(overrides)
            names.append(name)
            if name in missing:
                continue  # the same run twice, as searches may ask for it
            finished = self._finished(sweep.folder / name, overrides)
            if finished is not None:
                sweep.outcomes[name] = finished
                sweep.before.add(name)
                continue
            sweep.outcomes[name] = Outcome("not begun", None, BUDGET_SPENT)
            until = [] if sweep.until is None else [f"sweep.until={sweep.until:.0f}"]
            missing[name] = [*overrides, *until, f"hydra.sweep.subdir='{name}'"]
        if missing and (sweep.until is None or time.time() < sweep.until):
            sweep.outcomes |= zip(missing, self._launch(missing, initial_job_idx), strict=True)
        outcomes = [sweep.outcomes[name] for name in names]
        if any(outcome.code >= 128 for outcome in outcomes):
            raise SweepEnded
        return [_job_return(outcome) for outcome in outcomes]

    def _name(self, overrides: Sequence[str]) -> str:
        """The name of the run's folder: that of an earlier start, whatever that one had in common, or a new one."""
        name = folder_name(overrides, as_given(self._config.hydra.overrides.task))
        return next((f.name for f in self._sweep.folder.glob(f"*_{name.rsplit('_', 1)[-1]}")), name)

    def _launch(self, missing: dict[str, list[str]], initial_job_idx: int) -> list[Outcome]:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        lost: tuple[type[Exception], ...] = (BrokenProcessPool, FailedJobError, UncompletedJobError)
        try:
            returns = self._launcher.launch(list(missing.values()), initial_job_idx=initial_job_idx)
        except lost as error:
            # A process that was killed has returned nothing; its folder tells how far it came.
            print(f"A process of the sweep was lost: {error}", file=sys.stderr)
            return [self._found(name, "failed", 1) for name in missing]
        except KeyboardInterrupt:
            self._sweep.outcomes |= {name: self._found(name, "interrupted", 130) for name in missing}
            raise
        return [returned.return_value for returned in returns]

    def _found(self, name: str, status: str, code: int) -> Outcome:
        """What the run's folder tells; that status where it has begun and has not said how it ended."""
        folder = self._sweep.folder / name
        return read_outcome(folder) or Outcome(status if folder.is_dir() else "not begun", None, code)

    def _finished(self, folder: Path, overrides: Sequence[str]) -> Outcome | None:
        outcome = read_outcome(folder)
        if outcome is None or outcome.status not in ("completed", "diverged"):
            return None
        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(composed):
            del composed["hydra"]
        is_unfinished(folder, as_part_of_a_sweep(to_config(composed)))  # raises where its options are others
        return outcome


def as_given(overrides: Any) -> list[str]:
    """Overrides as they were written: what they refer to is another thing in each run."""
    return list(OmegaConf.to_container(overrides, resolve=False) or [])


def _job_return(outcome: Outcome) -> JobReturn:
    returned = JobReturn(status=JobStatus.COMPLETED)
    returned.return_value = float("nan") if outcome.wer is None else outcome.wer
    return returned


def as_part_of_a_sweep(config: Config) -> Config:
    """The options of a sweep's run: it does not read the test part, and its budget is the sweep's."""
    config = copy.deepcopy(config)
    config.score_test = False
    config.sweep = type(config.sweep)()
    return config


class SweepPlugins(Plugins):
    """Hydra's plugins, with every launcher a `ResumingLauncher` and Optuna's study one that is gone on with."""

    sweep: Sweep

    @staticmethod
    def install(sweep: Sweep) -> None:
        """Has this process's Hydra use them."""
        plugins = SweepPlugins()
        plugins.sweep = sweep
        # Processes that launchers start take Hydra's own: a run's process launches nothing.
        Singleton._instances[Plugins] = Singleton._instances.pop(SweepPlugins)

    def instantiate_sweeper(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Sweeper:
        """The sweeper that was chosen."""
        self.sweep.begin(config)
        options = config.hydra.sweeper
        searched = config.hydra.runtime.choices["hydra/sweeper"] == "optuna"
        if searched:
            alone = config.hydra.runtime.choices["hydra/launcher"] == "basic"
            options = going_on_with_study(options, self.sweep.folder, alone, as_given(config.hydra.overrides.task))
        sweeper = self._instantiate(options)
        assert isinstance(sweeper, Sweeper)
        sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        return Search(sweeper, options, self.sweep) if searched else sweeper

    def instantiate_launcher(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Launcher:
        """The launcher that was chosen, in a `ResumingLauncher`."""
        launcher = super().instantiate_launcher(hydra_context, task_function, config)
        return ResumingLauncher(launcher, self.sweep, config, hydra_context)


class Search(Sweeper):
    """Optuna's sweeper, which ends well where there is no best trial."""

    def __init__(self, sweeper: Sweeper, options: DictConfig, sweep: Sweep) -> None:
        self._sweeper = sweeper
        self._options = options
        self._sweep = sweep

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Sets up the sweeper within."""
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Makes the trials that are missing."""
        if self._options.n_trials == 0:
            print(f"{self._sweep.folder}: no trial is missing; hydra.sweeper.n_trials is of all starts together.")
        try:
            self._sweeper.sweep(arguments)
        except ValueError as error:
            if not any(frame.name == "best_trial" for frame in traceback.extract_tb(error.__traceback__)):
                raise  # Hydra asks for the best when all have ended; each storage has words of its own for none
            print(f"No trial of the search in {self._sweep.folder} has a WER: each failed.", file=sys.stderr)


def going_on_with_study(options: DictConfig, folder: Path, alone: bool, overrides: Sequence[str] = ()) -> DictConfig:
    """Options of Optuna's sweeper under which it takes up its study where an earlier start left it.

    The study lies in optuna.db in the sweep's folder where no storage is named. Settings that were begun and are not
    done are tried again first; n_trials is of all starts together.

    Args:
        options: as composed; they stay as they are.
        folder: of the sweep.
        alone: whether runs are made one after the other.
        overrides: that the sweep was started with.

    Raises:
        ValueError: the study's trials were made with other options.
    """
    import optuna

    options = copy.deepcopy(options)
    OmegaConf.set_readonly(options, False)
    if options.storage is None:
        folder.mkdir(parents=True, exist_ok=True)
        options.storage = f"sqlite:///{folder.resolve()}/optuna.db"
    options.study_name = options.study_name or "sweep"
    options.max_failure_rate = 1.0  # a failed run is a failed trial, and the others go on
    if alone:
        options.n_jobs = 1  # each trial is to know of the one before
    if options.study_name not in optuna.get_all_study_names(options.storage):
        return options
    study = optuna.load_study(study_name=options.study_name, storage=options.storage)
    trials = study.get_trials()
    states = optuna.trial.TrialState
    fixed = fixed_options([*(f"{k}={v}" for k, v in (options.get("params") or {}).items()), *overrides])
    for trial in trials:
        # Where a trial is done, Hydra has kept what was fixed in it.
        there = {k: str(v) for k, v in trial.user_attrs.items() if _is_of_the_run(k)}
        other = sorted(k for k in there.keys() | fixed.keys() if there.get(k) != fixed.get(k))
        if trial.state == states.COMPLETE and other:
            raise ValueError(
                f"{folder} has a search with other options: {other[0]} is {there.get(other[0], 'not fixed')} there and "
                f"{fixed.get(other[0], 'not fixed')} here. Its trials would be taken for those of this one; another "
                "search wants a folder of its own (hydra.sweep.dir=DIR)."
            )
    for trial in trials:
        if trial.state == states.RUNNING:
            study.tell(trial.number, state=states.FAIL)
    known = [t.params for t in trials if t.state == states.COMPLETE]
    known += [t.system_attrs.get("fixed_params", {}) for t in trials if t.state == states.WAITING]
    for trial in trials:
        if trial.params and trial.params not in known:
            study.enqueue_trial(trial.params)
            known.append(trial.params)
    done = sum(trial.state == states.COMPLETE for trial in trials)
    options.n_trials = max(0, options.n_trials - done)
    if OmegaConf.select(options, "sampler.seed") is not None:
        options.sampler.seed += len(trials)  # else it would draw once more what it drew first
    return options


def fixed_options(overrides: Sequence[str]) -> dict[str, str]:
    """Those of the overrides that a search does not vary, and that a run is, as Optuna's sweeper keeps them."""
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    _, fixed, _ = create_params_from_overrides(list(overrides))
    return {key: str(value) for key, value in fixed.items() if _is_of_the_run(key)}


def _is_of_the_run(key: str) -> bool:
    return not key.lstrip("+").startswith(("logger", *_NOT_THE_RUN))
