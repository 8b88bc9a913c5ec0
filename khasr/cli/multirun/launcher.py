"""Multirun with resume: rerunning a sweep runs only its unfinished jobs.

Hydra's sweepers decide which runs there are, its launchers where they are executed. `ResumingLauncher` wraps a
launcher: it names the folders, skips finished runs, keeps the time budget and collects the outcomes.
"""

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from khasr.cli.errors import MISTAKE, report_error
from khasr.cli.multirun.losses import report_lost, separate_losses
from khasr.cli.multirun.search import Search, search_options
from khasr.cli.multirun.stopping import StopRequest, stop_children
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
        self._refused: set[str] = set()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Does nothing: the wrapped launcher has been set up."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """`outcomes` for Hydra's own sweepers.

        Raises:
            SweepEnded: the time budget is spent, or a signal stopped a run.
        """
        outcomes = self.outcomes(job_overrides, initial_job_idx)
        if any(outcome.code >= 128 for outcome in outcomes):
            raise SweepEnded
        return [_job_return(outcome) for outcome in outcomes]

    def outcomes(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Outcome]:
        """Runs the unfinished runs; returns the outcomes of all."""
        sweep = self._sweep
        missing: dict[str, list[str]] = {}
        names = []
        for overrides in job_overrides:
            name = self.name(overrides)
            names.append(name)
            if name in missing:
                continue  # a search may request the same run twice
            finished = self._finished(sweep.folder / name, overrides)
            sweep.add(name, overrides, finished or Outcome("not begun", None, BUDGET_SPENT), finished is not None)
            if finished is None:
                until = [] if sweep.until is None else [f"sweep.until={sweep.until:.0f}"]
                missing[name] = [*overrides, *until, f"hydra.sweep.subdir='{name}'"]
        if missing and (sweep.until is None or time.time() < sweep.until):
            self._launch_legal(missing, initial_job_idx)
        return [sweep.outcomes[name] for name in names]

    def name(self, overrides: Sequence[str]) -> str:
        """The name of the run's folder: that of an earlier start, found by its hash, or a new one."""
        name = folder_name(overrides, unresolved(self._config.hydra.overrides.task))
        return next((f.name for f in self._sweep.folder.glob(f"*_{name.rsplit('_', 1)[-1]}")), name)

    def _launch_legal(self, missing: dict[str, list[str]], initial_job_idx: int) -> None:
        """Launches these runs; one whose options cannot be composed is a failed run with exit code 2."""
        outcomes = self._sweep.outcomes
        if self._config.hydra.runtime.choices["hydra/launcher"] == "basic":
            # It composes the options of a run when it starts the run.
            for number, (name, overrides) in enumerate(missing.items(), initial_job_idx):
                try:
                    (outcomes[name],) = self._launch({name: overrides}, number)
                except (HydraException, OmegaConfBaseException) as error:
                    outcomes[name] = self._refuse(error)
            return
        legal = {}
        for name, overrides in missing.items():
            try:
                self._context.config_loader.load_sweep_config(self._config, overrides)
                legal[name] = overrides
            except (HydraException, OmegaConfBaseException) as error:
                outcomes[name] = self._refuse(error)
        if legal:
            outcomes |= zip(legal, self._launch(legal, initial_job_idx), strict=True)

    def _refuse(self, error: Exception) -> Outcome:
        """The outcome of a run whose options cannot be composed; each reason is printed once."""
        if str(error) not in self._refused:
            self._refused.add(str(error))
            report_error(error)
        return Outcome("failed", None, MISTAKE)

    def _launch(self, missing: dict[str, list[str]], initial_job_idx: int) -> list[Outcome]:
        returns: Sequence[JobReturn | None]
        try:
            with self._handling() as stop:
                returns = self._launcher.launch(list(missing.values()), initial_job_idx=initial_job_idx)
        except BrokenProcessPool as error:  # of joblib, which then kills all its processes
            report_lost(error)
            returns = [None for _ in missing]
        except KeyboardInterrupt:
            self._sweep.outcomes |= {name: self._found(name, "interrupted", 130) for name in missing}
            raise
        status = "interrupted" if stop is not None and stop.signum is not None else "failed"
        outcomes = [
            # A process that was killed returned nothing; the folder of its run shows how far it got.
            self._found(name, status, 1) if returned is None else returned.return_value
            for name, returned in zip(missing, returns, strict=True)
        ]
        return outcomes if stop is None else stop.mark(outcomes)

    def _handling(self) -> contextlib.AbstractContextManager[StopRequest | None]:
        """What is done about signals and killed processes while the wrapped launcher runs jobs."""
        name = self._config.hydra.runtime.choices["hydra/launcher"]
        if name == "joblib":
            return StopRequest(stop_children)
        if name == "ray":
            return StopRequest(self._launcher.stop)  # type: ignore[attr-defined]
        return separate_losses() if name.startswith("submitit") else contextlib.nullcontext()

    def _found(self, name: str, status: str, code: int) -> Outcome:
        """The outcome in the run's folder; `status` if it began and recorded none."""
        folder = self._sweep.folder / name
        return read_outcome(folder) or Outcome(status if folder.is_dir() else "not begun", None, code)

    def _finished(self, folder: Path, overrides: Sequence[str]) -> Outcome | None:
        outcome = read_outcome(folder)
        if outcome is None or not outcome.finished:
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
        pruned = config.sweep.pruner != "none"
        if searched:
            sequential = config.hydra.runtime.choices["hydra/launcher"] == "basic"
            options = search_options(options, self.sweep.folder, sequential)
        elif pruned:
            raise ValueError(
                f"sweep.pruner={config.sweep.pruner}: a pruner stops trials of a search, and this sweep runs every "
                "combination. Add hydra/sweeper=optuna, or leave sweep.pruner out."
            )
        sweeper = self._instantiate(options)
        assert isinstance(sweeper, Sweeper)
        sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if searched:
            return Search(sweeper.sweeper, self.sweep, pruned)  # type: ignore[attr-defined]
        # Composing every run before the first starts would take as long as a short run; the launcher composes each.
        sweeper.validate_batch_is_legal = lambda batch: None  # type: ignore[method-assign]
        return sweeper

    def instantiate_launcher(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Launcher:
        """The chosen launcher, wrapped."""
        launcher = super().instantiate_launcher(hydra_context, task_function, config)
        if config.hydra.runtime.choices["hydra/launcher"] == "ray":
            from khasr.cli.multirun.ray_launcher import PatientRayLauncher  # of the extra `ray`

            launcher = PatientRayLauncher(launcher)
        return ResumingLauncher(launcher, self.sweep, config, hydra_context)
