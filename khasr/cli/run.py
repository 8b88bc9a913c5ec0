"""Runs a command: composes its options, prints help, reports errors and sets the exit code.

Nothing here imports torch, so that a mistyped option is reported in less than a second.
"""

import contextlib
import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# hydra.main reads sys.argv and has no parameter for arguments; this is what it calls.
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from khasr.cli.errors import report_error, tolerate_terminal
from khasr.cli.help import print_help
from khasr.cli.multirun.launcher import SweepPlugins
from khasr.cli.multirun.run import Task, budget, run_of_sweep
from khasr.cli.multirun.sweep import Sweep, SweepEnded, unresolved
from khasr.cli.overrides import check_arguments
from khasr.cli.resume import into_run_folder, quote, training_options
from khasr.cli.wandb_agent import read_agent_arguments
from khasr.config import CONF_DIR, check_ranges, register_schemas, roots, to_options
from khasr.run.interrupts import Interrupted
from khasr.run.outcome import Outcome, is_unfinished

STOPPED = 130

# The value of HYDRA_FULL_ERROR that the user set, in the environment of further processes.
_TRACEBACKS = "KHASR_TRACEBACKS"


@dataclasses.dataclass(frozen=True)
class Root:
    """How a command's options are composed.

    Attributes:
        name: the name of the file under conf/.
        complete: adds arguments that follow from the given ones, such as the corpus of `run=RUN`.
        to_typed: converts the composition and the overrides to typed options.
    """

    name: str
    complete: Callable[[list[str]], list[str]]
    to_typed: Callable[[DictConfig, list[str]], Any]


def plain_root(name: str) -> Root:
    """The root of a command whose options come only from the command line."""
    return Root(name, lambda arguments: arguments, lambda composed, _: to_options(composed, roots()[name]))


def run(
    command: str,
    task: Task,
    root: Root | None = None,
    arguments: Sequence[str] | None = None,
    choices: Path | None = None,
) -> None:
    """Composes the options and runs the task with them: once or, with -m, many times.

    Errors are reported in one paragraph; HYDRA_FULL_ERROR=1 also prints the traceback.

    Exits with 0, 1 (the run failed), 2 (invalid options), or 128 + the signal that stopped the run.

    Args:
        command: the name of the command, such as `train`.
        task: called with the typed options and the folder of the run; returns the number that sweepers minimise.
        root: how the options are composed; as for training if None.
        arguments: the arguments of the command; those of the process if None.
        choices: a folder with further choices of the groups, for callers; it cannot be set on the command line.
    """
    root = root or Root("train", into_run_folder, training_options)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    tolerate_terminal()
    if {"-h", "--help"} & set(arguments):
        sys.exit(print_help(command, [a for a in arguments if not a.startswith("-")], root.name))
    show_tracebacks = _tracebacks_wanted()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing; errors are reported here
    register_schemas()
    codes: list[int] = []
    stopped = False
    sweep = Sweep()
    trains = command == "train"
    if trains:
        SweepPlugins.install(sweep)

    def job(composed: DictConfig) -> Any:
        tolerate_terminal()  # again, because a launcher may have started this process
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        swept = trains and hydra_config.mode is RunMode.MULTIRUN
        try:
            typed = root.to_typed(composed, unresolved(hydra_config.overrides.task))
            if swept:
                return run_of_sweep(typed, task, folder, codes, show_tracebacks)
            check_ranges(typed)
            return _run_once(typed, task, folder) if trains else task(typed, folder)
        except Exception as error:
            if show_tracebacks:
                traceback.print_exc()
            codes.append(report_error(error))
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if nothing was written to it
            if swept:
                return Outcome("failed", None, codes[-1])  # the process of a launcher can only return it
            if isinstance(error, Interrupted):
                sys.exit(codes[-1])
            return None

    try:
        if trains:
            arguments = read_agent_arguments(arguments)
        check_arguments(arguments)
        parser = get_args_parser()
        own = [] if choices is None else [f"hydra.searchpath=[{quote(f'file://{choices.resolve()}')}]"]
        parsed = parser.parse_intermixed_args([*root.complete(arguments), *own])
        _run_hydra(parsed, parser, job, config_path=str(CONF_DIR), config_name=root.name)
    except SweepEnded:
        pass  # the outcomes of its runs give the reason
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        if show_tracebacks:
            traceback.print_exc()
        codes.append(report_error(error))
    except KeyboardInterrupt:
        print("\nStopped." if sweep.outcomes else "\nStopped before the run began.", file=sys.stderr)
        stopped = True
    if sweep.outcomes:
        print(sweep.describe())
    sys.exit(STOPPED if stopped else max([*codes, sweep.code]))


def _tracebacks_wanted() -> bool:
    """Whether the user set HYDRA_FULL_ERROR=1; `run` sets it too, which the processes of Lightning inherit."""
    if "LOCAL_RANK" not in os.environ or _TRACEBACKS not in os.environ:
        os.environ[_TRACEBACKS] = os.environ.get("HYDRA_FULL_ERROR", "")
    return os.environ[_TRACEBACKS] == "1"


def _run_once(config: Any, task: Task, folder: Path) -> float | None:
    """Trains one run within its time budget; resumes it if it is in the folder and unfinished.

    Raises:
        ValueError: a pruner without a search.
    """
    if config.sweep.pruner != "none":
        raise ValueError(
            f"sweep.pruner={config.sweep.pruner}: a pruner stops trials of a search, and this is a single run. Add -m "
            "hydra/sweeper=optuna, or leave sweep.pruner out."
        )
    if "WANDB_SWEEP_ID" in os.environ and config.trainer.keep_last == "auto":
        config.trainer.keep_last = "never"  # a trial of a wandb agent is a run of a sweep
    if config.resume is None and is_unfinished(folder, config):
        # The same command in the same folder: a scheduler has restarted a requeued job.
        config.resume = str(folder)
    hours = config.sweep.max_hours
    with budget(None if hours is None else time.time() + 3600 * hours):
        return task(config, folder)


def guarded(main: Callable[[], int]) -> int:
    """Runs a command without Hydra and returns its exit code; errors are reported as by `run`."""
    tolerate_terminal()
    try:
        return main()
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        return report_error(error)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return STOPPED
