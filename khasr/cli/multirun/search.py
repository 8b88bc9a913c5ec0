"""TODO."""

import copy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from khasr.cli.multirun.sweep import Sweep
from khasr.run.outcome import _is_of_the_run


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
