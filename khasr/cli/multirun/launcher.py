"""Multirun with resume: rerunning a sweep runs only its unfinished jobs.

Hydra's sweepers decide which runs there are, its launchers where they are executed. `ResumingLauncher` wraps a
launcher: it names the folders, skips finished runs, keeps the time budget and collects the outcomes.
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from khasr.cli.multirun.search import Search, continue_study
from khasr.cli.multirun.sweep import Sweep, SweepEnded, folder_name, for_sweep, unresolved
from khasr.config import to_config
from khasr.run.outcome import Outcome, is_unfinished, read_outcome

BUDGET_SPENT = 142
"""128 + SIGALRM, which ends a run at the end of `sweep.max_hours`."""


class ResumingLauncher(Launcher):
    """Passes unfinished runs to the wrapped launcher, and returns what sweepers minimise."""

    def __init__(self, launcher: Launcher, sweep: Sweep, config: DictConfig, hydra_context: HydraContext) -> None:
        self._launcher = launcher
        self._sweep = sweep
        self._config = config
        self._context = hydra_context

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Does nothing: the wrapped launcher has been set up."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the unfinished runs.

        Returns:
            The WER on val of each run: NaN if it failed, which Optuna records as a failed trial.

        Raises:
            SweepEnded: the time budget is spent, or a signal stopped a run.
        """
        sweep = self._sweep
        missing: dict[str, list[str]] = {}
        names = []
        for overrides in job_overrides:
            name = self._name(overrides)
            names.append(name)
            if name in missing:
                continue  # a search may request the same run twice
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
        """The name of the run's folder: that of an earlier start, found by its hash, or a new one."""
        name = folder_name(overrides, unresolved(self._config.hydra.overrides.task))
        return next((f.name for f in self._sweep.folder.glob(f"*_{name.rsplit('_', 1)[-1]}")), name)

    def _launch(self, missing: dict[str, list[str]], initial_job_idx: int) -> list[Outcome]:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        lost: tuple[type[Exception], ...] = (BrokenProcessPool, FailedJobError, UncompletedJobError)
        try:
            returns = self._launcher.launch(list(missing.values()), initial_job_idx=initial_job_idx)
        except lost as error:
            # A killed process returned nothing; the folder of its run shows how far it got.
            print(f"A process of the sweep ended unexpectedly: {error}", file=sys.stderr)
            return [self._found(name, "failed", 1) for name in missing]
        except KeyboardInterrupt:
            self._sweep.outcomes |= {name: self._found(name, "interrupted", 130) for name in missing}
            raise
        return [returned.return_value for returned in returns]

    def _found(self, name: str, status: str, code: int) -> Outcome:
        """The outcome in the run's folder; `status` if it began and recorded none."""
        folder = self._sweep.folder / name
        return read_outcome(folder) or Outcome(status if folder.is_dir() else "not begun", None, code)

    def _finished(self, folder: Path, overrides: Sequence[str]) -> Outcome | None:
        outcome = read_outcome(folder)
        if outcome is None or outcome.status not in ("completed", "diverged"):
            return None
        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(composed):
            del composed["hydra"]
        is_unfinished(folder, for_sweep(to_config(composed)))  # raises if the options differ
        return outcome


def _job_return(outcome: Outcome) -> JobReturn:
    returned = JobReturn(status=JobStatus.COMPLETED)
    returned.return_value = float("nan") if outcome.wer is None else outcome.wer
    return returned


class SweepPlugins(Plugins):
    """Hydra's plugins, with every launcher wrapped in a `ResumingLauncher` and Optuna studies continued."""

    sweep: Sweep

    @staticmethod
    def install(sweep: Sweep) -> None:
        """Replaces the plugins of Hydra in this process."""
        plugins = SweepPlugins()
        plugins.sweep = sweep
        # Not in the processes that launchers start, because those do not launch runs.
        Singleton._instances[Plugins] = Singleton._instances.pop(SweepPlugins)

    def instantiate_sweeper(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Sweeper:
        """The chosen sweeper."""
        self.sweep.begin(config)
        options = config.hydra.sweeper
        searched = config.hydra.runtime.choices["hydra/sweeper"] == "optuna"
        if searched:
            sequential = config.hydra.runtime.choices["hydra/launcher"] == "basic"
            options = continue_study(options, self.sweep.folder, sequential, unresolved(config.hydra.overrides.task))
        sweeper = self._instantiate(options)
        assert isinstance(sweeper, Sweeper)
        sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        return Search(sweeper, options, self.sweep) if searched else sweeper

    def instantiate_launcher(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Launcher:
        """The chosen launcher, wrapped."""
        launcher = super().instantiate_launcher(hydra_context, task_function, config)
        return ResumingLauncher(launcher, self.sweep, config, hydra_context)
