"""Optuna searches that continue: an interrupted study is resumed, and its unfinished trials are tried again."""

import copy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from khasr.cli.multirun.sweep import Sweep
from khasr.run.outcome import is_of_the_run


class Search(Sweeper):
    """Optuna's sweeper, which reports a study without a best trial instead of raising."""

    def __init__(self, sweeper: Sweeper, options: DictConfig, sweep: Sweep) -> None:
        self._sweeper = sweeper
        self._options = options
        self._sweep = sweep

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Sets up the wrapped sweeper."""
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Runs the missing trials."""
        if self._options.n_trials == 0:
            print(f"{self._sweep.folder}: no trial is missing; hydra.sweeper.n_trials counts the trials of all starts.")
        try:
            self._sweeper.sweep(arguments)
        except ValueError as error:
            if not any(frame.name == "best_trial" for frame in traceback.extract_tb(error.__traceback__)):
                raise  # Hydra reads the best trial at the end; each storage has its own message if there is none
            print(f"No trial of the search in {self._sweep.folder} has a WER: all failed.", file=sys.stderr)


def continue_study(options: DictConfig, folder: Path, sequential: bool, overrides: Sequence[str] = ()) -> DictConfig:
    """Options of Optuna's sweeper with which it continues the study of an earlier start, if there is one.

    The study is stored in optuna.db in the sweep's folder unless a storage is set. Unfinished trials are tried again
    first; n_trials counts the trials of all starts.

    Args:
        options: the composed options; not modified.
        folder: the folder of the sweep.
        sequential: whether runs are executed in sequence.
        overrides: the overrides of the sweep's command.

    Raises:
        ValueError: the study's trials were made with different options.
    """
    import optuna

    options = copy.deepcopy(options)
    OmegaConf.set_readonly(options, False)
    if options.storage is None:
        folder.mkdir(parents=True, exist_ok=True)
        options.storage = f"sqlite:///{folder.resolve()}/optuna.db"
    options.study_name = options.study_name or "sweep"
    options.max_failure_rate = 1.0  # a failed run is a failed trial; the search continues
    if sequential:
        options.n_jobs = 1  # each trial uses the results of all before it
    if options.study_name not in optuna.get_all_study_names(options.storage):
        return options
    study = optuna.load_study(study_name=options.study_name, storage=options.storage)
    trials = study.get_trials()
    states = optuna.trial.TrialState
    fixed = fixed_options([*(f"{k}={v}" for k, v in (options.get("params") or {}).items()), *overrides])
    for trial in trials:
        # Hydra stores the fixed overrides in the attributes of a finished trial.
        there = {k: str(v) for k, v in trial.user_attrs.items() if is_of_the_run(k)}
        other = sorted(k for k in there.keys() | fixed.keys() if there.get(k) != fixed.get(k))
        if trial.state == states.COMPLETE and other:
            raise ValueError(
                f"{folder} contains a search with different options: {other[0]} is "
                f"{there.get(other[0], 'not fixed')} there and {fixed.get(other[0], 'not fixed')} here, so its trials "
                "cannot be used. Give this search its own folder (hydra.sweep.dir=DIR)."
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
        options.sampler.seed += len(trials)  # otherwise it would draw the same settings again
    return options


def fixed_options(overrides: Sequence[str]) -> dict[str, str]:
    """The overrides that a search does not vary and that identify a run, in the form Optuna's sweeper stores."""
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    _, fixed, _ = create_params_from_overrides(list(overrides))
    return {key: str(value) for key, value in fixed.items() if is_of_the_run(key)}
