"""What every command that reads conf/ shares: composing, help, errors in one paragraph, exit codes.

Nothing here imports torch: a mistyped key is told before that takes its seconds.
"""

import contextlib
import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from khasr.cli.errors import _tell
from khasr.cli.help import _tell_help
from khasr.cli.multirun.launcher import SweepPlugins
from khasr.cli.multirun.run import Task, _budget, _run_of_sweep
from khasr.cli.multirun.sweep import Sweep, SweepEnded, as_given
from khasr.cli.resume import _into_own_folder, _training_options
from khasr.config import CONF_DIR, check_ranges, register_schemas
from khasr.run.interrupts import Interrupted
from khasr.run.outcome import Outcome, is_unfinished


@dataclasses.dataclass(frozen=True)
class Root:
    """What a command's options are composed from.

    Attributes:
        name: of the file under conf/.
        complete: adds to the command line what it leaves to the run that it names.
        to_typed: the options, from what was composed and the command line.
    """

    name: str
    complete: Callable[[list[str]], list[str]]
    to_typed: Callable[[DictConfig, list[str]], Any]


def run(command: str, task: Task, root: Root | None = None) -> None:
    """Composes the configuration from the command line and runs the task with it, once or, with -m, many times.

    The task gets the typed options and the run's folder, and returns the number that sweepers minimise. A user's
    mistake is told in one paragraph; anything else keeps its traceback. HYDRA_FULL_ERROR=1 shows every traceback.

    Exits with 0, 1 (the run failed), 2 (a mistake in the options), or 128 + the signal that stopped it.
    """
    root = root or Root("train", _into_own_folder, _training_options)
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(_tell_help(command, [a for a in sys.argv[1:] if not a.startswith("-")], root.name))
    show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and what it raised is told here
    register_schemas()
    codes: list[int] = []
    stopped = False
    sweep = Sweep()
    trains = command == "train"
    if trains:
        SweepPlugins.install(sweep)

    def job(composed: DictConfig) -> Any:
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        swept = trains and hydra_config.mode is RunMode.MULTIRUN
        try:
            typed = root.to_typed(composed, as_given(hydra_config.overrides.task))
            if swept:
                return _run_of_sweep(typed, task, folder, codes, show_tracebacks)
            check_ranges(typed)
            if not trains:
                return task(typed, folder)
            if typed.resume is None and is_unfinished(folder, typed):
                # The same command in the same folder: a scheduler that has put it back in its queue starts it so.
                typed.resume = str(folder)
            hours = typed.sweep.max_hours
            with _budget(None if hours is None else time.time() + 3600 * hours):
                return task(typed, folder)
        except Exception as error:
            if show_tracebacks:
                traceback.print_exc()
            codes.append(_tell(error))
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing was written in it
            if swept:
                return Outcome("failed", None, codes[-1])  # a launcher's process has no other way to tell
            if isinstance(error, Interrupted):
                sys.exit(codes[-1])
            return None

    try:
        sys.argv[1:] = root.complete(sys.argv[1:])
        hydra.main(config_path=str(CONF_DIR), config_name=root.name)(job)()
    except SweepEnded:
        pass  # what came of its runs says why
    except (HydraException, OmegaConfBaseException, FileNotFoundError, ValueError) as error:
        if show_tracebacks:
            traceback.print_exc()
        codes.append(_tell(error))
    except KeyboardInterrupt:
        print("\nStopped." if sweep.outcomes else "\nStopped before the run began.", file=sys.stderr)
        stopped = True
    if sweep.outcomes:
        print(sweep.describe())
    sys.exit(130 if stopped else max([*codes, sweep.code]))


def guarded(main: Callable[[], int]) -> int:
    """The exit code of a command without Hydra; a user's mistake is told in one paragraph, as `run` tells it."""
    try:
        return main()
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        return _tell(error)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
