"""One run of a sweep: its budget and its outcome."""

import contextlib
import dataclasses
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from khasr.cli.errors import FAILED, report_error
from khasr.cli.multirun.requeue import requeue
from khasr.cli.multirun.stopping import stoppable
from khasr.cli.multirun.sweep import for_sweep
from khasr.config import Config, check_ranges
from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted
from khasr.run.outcome import Outcome, Pruned, is_unfinished, read_outcome

Task = Callable[[Any, Path], float | None]


@stoppable
def run_of_sweep(config: Config, task: Task, folder: Path, codes: list[int], show_tracebacks: bool) -> Outcome:
    """Runs one run of a sweep and returns its outcome; errors are reported and recorded, and the sweep continues.

    Args:
        config: the composed options.
        task: trains a run in a folder and returns its WER on val.
        folder: the folder of the run.
        codes: exit codes of the earlier runs of this process; that of a failed run is appended.
        show_tracebacks: whether the tracebacks of errors are printed.
    """
    if any(code >= 128 for code in codes):
        with contextlib.suppress(OSError):
            folder.rmdir()
        return Outcome("not begun", None, codes[-1])  # a signal stopped an earlier run: no further run starts
    if config.score_test:
        print("A sweep does not read the test part: score_test=false.", file=sys.stderr)
    typed, run = for_sweep(config), RunFolder(folder)
    begun = False
    try:
        with budget(config.sweep.until):
            check_ranges(typed)
            _refuse_relaunch(typed)
            if is_unfinished(folder, typed):
                typed.resume = str(folder)
            elif (there := read_outcome(folder)) and there.finished:
                return there  # restarted by a scheduler
            begun = True
            wer = task(typed, folder)
    except Pruned as pruned:
        print(pruned)
        return Outcome("pruned", pruned.scores["wer"], 0)
    except Exception as error:
        if show_tracebacks:
            traceback.print_exc()
        code = report_error(error)
        if isinstance(error, Interrupted):
            if not requeue(error.signum):  # pickles `codes` as they are
                code = FAILED  # for this run only, so that the sweep starts the others
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if nothing was written to it
        else:
            _write_failure(run, typed, error)
        codes.append(code)
        # The folder's contents belong to this run only if it began.
        outcome = read_outcome(folder) if begun else None
        ended = "not begun" if isinstance(error, Interrupted) else "failed"
        return dataclasses.replace(outcome or Outcome(ended, None, code), code=code)
    return Outcome("completed", wer, 0)


@contextlib.contextmanager
def budget(until: float | None) -> Iterator[None]:
    """Stops the run inside by SIGALRM at a time, in seconds since 1970; never if None.

    Raises:
        Interrupted: the time has come, now or inside.
    """
    if until is None:
        yield
        return
    left = until - time.time()
    if left <= 0:
        raise Interrupted(signal.SIGALRM)

    def stop(signum: int, frame: object) -> None:
        raise Interrupted(signum)

    before = signal.signal(signal.SIGALRM, stop)  # training replaces the handler, to finish its optimizer step
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _write_failure(run: RunFolder, config: Config, error: Exception) -> None:
    """Writes config.yaml and results.json of a run that failed before it wrote any."""
    if run.results.is_file():
        return
    from khasr.run.results import new_results  # imports torch

    run.write_config(config)
    run.write_results(new_results(config) | {"status": "failed", "error": f"{type(error).__name__}: {error}"})


def _refuse_relaunch(config: Config) -> None:
    """Refuses a run on several devices whose processes were not started by Slurm or torchrun.

    Raises:
        ValueError: Lightning would start the whole sweep again for each device (lightning #18175).
    """
    options = config.trainer
    processes = options.devices * options.num_nodes
    if processes == 1:
        return
    started = 0
    if "SLURM_STEP_ID" in os.environ:  # set by srun; a batch script alone has started no processes
        started = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        started = int(os.environ["WORLD_SIZE"])
    if started == processes or (options.devices == -1 and started > 1):
        return
    raise ValueError(
        f"trainer.devices={options.devices} trainer.num_nodes={options.num_nodes} in a sweep (-m), for which "
        f"{started or 'no'} processes have been started: Lightning would start the whole sweep again for each further "
        "device. Use one device per run, or have Slurm start all processes of a run: hydra/launcher=submitit_slurm "
        "hydra.launcher.nodes=NODES hydra.launcher.tasks_per_node=DEVICES hydra.launcher.gpus_per_node=DEVICES with "
        "trainer.num_nodes=NODES trainer.devices=DEVICES."
    )
