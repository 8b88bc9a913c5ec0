"""Optuna searches that continue: interrupted trials keep their number, failed ones are tried again."""

import copy
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from khasr.cli.errors import MISTAKE
from khasr.cli.multirun.sweep import Sweep, SweepEnded
from khasr.cli.resume import quote
from khasr.run.outcome import Outcome, is_of_the_run, read_outcome

if TYPE_CHECKING:
    import optuna
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

Launch = Callable[[Sequence[Sequence[str]], int], list[Outcome]]


class Search(Sweeper):
    """Asks a study for trials, runs them, and stores how they ended.

    Replaces the loop of Hydra's Optuna sweeper, which knows no pruned trials, does not continue the interrupted ones,
    and raises if there is no best trial. The search space is read by that sweeper.
    """

    def __init__(self, space: "OptunaSweeperImpl", sweep: Sweep, pruned: bool) -> None:
        """A search in the space of a set-up sweeper; `pruned`: whether its runs report to the study."""
        self._space = space
        self._sweep = sweep
        self._pruned = pruned

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Does nothing: the sweeper has been set up."""

    def sweep(self, arguments: list[str]) -> None:
        """Runs the missing trials.

        Raises:
            ValueError: the study's trials were made with different options.
            SweepEnded: the time budget is spent, or a signal stopped a run.
        """
        import optuna
        from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

        space = self._space
        given = [f"{key}={value}" for key, value in (space.params or {}).items()]
        varied, fixed, _ = create_params_from_overrides([*given, *arguments])
        varied = {name: distribution for name, distribution in varied.items() if name not in fixed}
        total, sampler = space.n_trials, space.sampler
        grid = _combinations(space, varied) if _is_grid(sampler) else None
        if grid is not None:
            # The combinations are put in the queue, so that a second start finds which of them are there.
            total, sampler = min(total, len(grid)), optuna.samplers.RandomSampler()
        study = optuna.create_study(
            study_name=space.study_name, storage=space.storage, sampler=sampler, direction="minimize",
            load_if_exists=True,
        )  # fmt: skip
        check_same_search(study, fixed, varied, self._sweep.folder)
        self._recall(study)
        running = unfinished_trials(study, self._began)
        missing = total - _count(study, *_done())
        if grid is not None:
            _enqueue_missing(study, grid[:total])
            missing = min(missing, len(running) + _count(study, optuna.trial.TrialState.WAITING))
        if missing <= 0:
            print(f"{self._sweep.folder}: no trial is missing; hydra.sweeper.n_trials counts the trials of all starts.")
        while missing > 0:
            trials = [running.pop(0) if running else study.ask() for _ in range(min(missing, space.n_jobs))]
            self._run(study, trials, varied, fixed)
            missing -= len(trials)
        self._write_best(study)

    def _run(
        self, study: "optuna.Study", trials: list["optuna.Trial"], varied: dict[str, Any], fixed: dict[str, Any]
    ) -> None:
        """Runs trials, and stores their outcomes; an interrupted one stays as it is and is continued by a later start.

        Raises:
            SweepEnded: the time budget is spent, or a signal stopped a run.
        """
        from optuna.trial import TrialState

        jobs = [list(words) for words in self._space._configure_trials(trials, varied, fixed, [])]
        if self._pruned:
            for words, trial in zip(jobs, trials, strict=True):
                storage, name = quote(str(self._space.storage)), quote(study.study_name)
                words += [f"sweep.trial={trial.number}", f"sweep.study={name}", f"sweep.storage={storage}"]
        launch: Launch = self._space.launcher.outcomes
        outcomes = launch(jobs, self._space.job_idx)
        self._space.job_idx += len(jobs)
        for trial, outcome in zip(trials, outcomes, strict=True):
            if outcome.status == "pruned":
                study.tell(trial, state=TrialState.PRUNED)
            elif outcome.wer is not None:
                study.tell(trial, outcome.wer)
            elif outcome.status == "failed":
                study.tell(trial, state=TrialState.FAIL)
        if any(outcome.code >= 128 for outcome in outcomes):
            raise SweepEnded

    def _recall(self, study: "optuna.Study") -> None:
        """Adds the trials of earlier starts to the sweep, so that its summary covers the whole search."""
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.params:
                folder, overrides = self._folder(trial)
                outcome = read_outcome(folder) or Outcome("failed", None, MISTAKE)
                self._sweep.add(folder.name, overrides, outcome, before=True)

    def _folder(self, trial: "optuna.trial.FrozenTrial") -> tuple[Path, list[str]]:
        """The folder of a trial's run, which need not exist, and its overrides."""
        # Hydra stores the fixed overrides in the attributes of a trial.
        overrides = [f"{key}={value}" for key, value in (trial.params | trial.user_attrs).items()]
        return self._sweep.folder / self._space.launcher.name(overrides), overrides

    def _began(self, trial: "optuna.trial.FrozenTrial") -> bool:
        """Whether the options of a trial could be composed: its run has a folder."""
        return self._folder(trial)[0].is_dir()

    def _write_best(self, study: "optuna.Study") -> None:
        """Writes optimization_results.yaml, as Hydra's sweeper does."""
        import optuna

        trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        # By the outcomes of the runs: earlier versions gave a diverged trial the value 1.
        completed = {name for name, outcome in self._sweep.outcomes.items() if outcome.status == "completed"}
        scored = [trial for trial in trials if self._folder(trial)[0].name in completed]
        if not scored:
            print(f"No trial of the search in {self._sweep.folder} has a WER: all failed or diverged.", file=sys.stderr)
            return
        best = min(scored, key=lambda trial: float(trial.value or 0))
        found = {"name": "optuna", "best_params": best.params, "best_value": best.value}
        OmegaConf.save(OmegaConf.create(found), self._sweep.folder / "optimization_results.yaml")


def search_options(options: DictConfig, folder: Path, sequential: bool) -> DictConfig:
    """Options of Optuna's sweeper for a search that can be continued.

    The study is stored in optuna.db in the sweep's folder unless a storage is set.

    Args:
        options: the composed options; not modified.
        folder: the folder of the sweep.
        sequential: whether runs are executed in sequence.

    Raises:
        ValueError: a direction other than minimize.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = copy.deepcopy(options)
    OmegaConf.set_readonly(options, False)
    if str(getattr(options.direction, "name", options.direction)) != "minimize":
        raise ValueError(f"hydra.sweeper.direction={options.direction}: expected minimize, because a WER is minimised.")
    if options.storage is None:
        folder.mkdir(parents=True, exist_ok=True)
        options.storage = f"sqlite:///{folder.resolve()}/optuna.db"
    options.study_name = options.study_name or "sweep"
    if sequential:
        options.n_jobs = 1  # each trial uses the results of all before it
    seeded = OmegaConf.select(options, "sampler.seed") is not None
    if seeded and options.study_name in optuna.get_all_study_names(options.storage):
        study = optuna.load_study(study_name=options.study_name, storage=options.storage)
        options.sampler.seed += len(study.get_trials(deepcopy=False))  # else it would draw the same settings again
    return options


def check_same_search(study: "optuna.Study", fixed: dict[str, Any], varied: dict[str, Any], folder: Path) -> None:
    """Checks that the study's trials were made with these fixed options, and in a space of the same kind.

    Raises:
        ValueError: one was not.
    """
    from optuna.distributions import check_distribution_compatibility

    own_folder = "Give this search its own folder (hydra.sweep.dir=DIR)."
    here = {key: str(value) for key, value in fixed.items() if is_of_the_run(key)}
    for trial in study.get_trials(deepcopy=False):
        there = {key: str(value) for key, value in trial.user_attrs.items() if is_of_the_run(key)}
        other = sorted(key for key in there.keys() | here.keys() if there.get(key) != here.get(key))
        if trial.state in _done() and other:
            raise ValueError(
                f"{folder} contains a search with different options: {other[0]} is "
                f"{there.get(other[0], 'not fixed')} there and {here.get(other[0], 'not fixed')} here, so its trials "
                f"cannot be used. {own_folder}"
            )
        for name in trial.distributions.keys() & varied.keys():
            before, now = trial.distributions[name], varied[name]
            try:
                check_distribution_compatibility(before, now)
            except ValueError as error:
                raise ValueError(
                    f"{folder} contains a search over other values of {name}: {_values(before)} there and "
                    f"{_values(now)} here. Optuna continues a study only with the same list of values, or "
                    f"with an interval of the same scale. {own_folder}"
                ) from error


def unfinished_trials(
    study: "optuna.Study", began: Callable[["optuna.trial.FrozenTrial"], bool]
) -> list["optuna.Trial"]:
    """The interrupted trials, to be continued under their numbers; puts the failed ones that began in the queue."""
    import optuna

    states = optuna.trial.TrialState
    trials = study.get_trials(deepcopy=False)
    known = [t.params for t in trials if t.state in (*_done(), states.RUNNING)]
    known += [t.system_attrs.get("fixed_params", {}) for t in trials if t.state == states.WAITING]
    for trial in trials:
        if trial.state == states.FAIL and trial.params and trial.params not in known and began(trial):
            study.enqueue_trial(trial.params)
            known.append(trial.params)
    # Optuna has no public way to continue a trial; the constructor takes the id of one that exists.
    return [optuna.Trial(study, t._trial_id) for t in trials if t.state == states.RUNNING]


def _count(study: "optuna.Study", *states: Any) -> int:
    return len(study.get_trials(deepcopy=False, states=states))


def _done() -> tuple[Any, ...]:
    from optuna.trial import TrialState

    return TrialState.COMPLETE, TrialState.PRUNED


def _values(distribution: Any) -> str:
    """The values of a distribution, as written on the command line."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return ",".join(map(str, choices))
    interval = f"interval({distribution.low},{distribution.high})"
    return f"tag(log,{interval})" if distribution.log else interval


def _is_grid(sampler: Any) -> bool:
    import optuna

    return getattr(sampler, "func", None) is optuna.samplers.GridSampler


def _combinations(space: "OptunaSweeperImpl", varied: dict[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the values of a grid.

    Raises:
        ValueError: an interval, which has no list of values.
    """
    try:
        choices = [space._to_grid_sampler_choices(distribution) for distribution in varied.values()]
    except ValueError as error:
        raise ValueError(
            f"hydra/sweeper/sampler=grid: {error} Expected lists of values (optimizer.lr=1e-5,3e-5) or range(...)."
        ) from error
    return [dict(zip(varied, values, strict=True)) for values in itertools.product(*choices)]


def _enqueue_missing(study: "optuna.Study", combinations: list[dict[str, Any]]) -> None:
    """Puts the combinations that are not in the study in its queue."""
    trials = study.get_trials(deepcopy=False)
    known = [t.params or t.system_attrs.get("fixed_params", {}) for t in trials]
    for combination in combinations:
        if combination not in known:
            study.enqueue_trial(combination)
