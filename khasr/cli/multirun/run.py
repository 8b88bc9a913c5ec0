"""TODO."""

import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from khasr.cli.errors import FAILED, _tell
from khasr.cli.multirun.sweep import as_part_of_a_sweep
from khasr.config import Config, check_ranges, to_plain
from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted, preempting_signals
from khasr.run.outcome import Outcome, is_unfinished, read_outcome

Task = Callable[[Any, Path], float | None]


def _run_of_sweep(config: Config, task: Task, folder: Path, codes: list[int], show_tracebacks: bool) -> Outcome:
    """What came of one of a sweep's runs: whatever it is, it is told and written down, and the others go on.

    Args:
        config: as composed.
        codes: of the sweep's runs in this process before it.
    """
    if any(code >= 128 for code in codes):
        with contextlib.suppress(OSError):
            folder.rmdir()
        return Outcome("not begun", None, codes[-1])  # a signal has stopped the one before: no other is wanted
    if config.score_test:
        print("A sweep does not read the test part: score_test=false.", file=sys.stderr)
    typed = as_part_of_a_sweep(config)
    begun = False
    try:
        with _budget(config.sweep.until):
            check_ranges(typed)
            _refuse_relaunch(typed)
            if is_unfinished(folder, typed):
                typed.resume = str(folder)
            elif (there := read_outcome(folder)) and there.status in ("completed", "diverged"):
                return there  # a scheduler has started it once more
            elif not RunFolder(folder).last.is_file():
                # Weights without all that going on needs: of a run that was killed between writing the two.
                RunFolder(folder).best.unlink(missing_ok=True)
            begun = True
            wer = task(typed, folder)
    except Exception as error:
        if show_tracebacks:
            traceback.print_exc()
        code = _tell(error)
        if isinstance(error, Interrupted):
            if not _requeue(error.signum):  # with `codes` as they were
                code = FAILED  # of this run alone: the sweep is to begin others
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing was written in it
        else:
            _write_failure(folder, typed, error)
        codes.append(code)
        # What is in the folder is this run's only where it came to write there.
        outcome = read_outcome(folder) if begun else None
        ended = "not begun" if isinstance(error, Interrupted) else "failed"
        return dataclasses.replace(outcome or Outcome(ended, None, code), code=code)
    return Outcome("completed", wer, 0)


@contextlib.contextmanager
def _budget(until: float | None) -> Iterator[None]:
    """While entered, the end of the budget stops the run as a signal does; one that is over lets none begin."""
    if until is None:
        yield
        return
    left = until - time.time()
    if left <= 0:
        raise Interrupted(signal.SIGALRM)

    def stop(signum: int, frame: object) -> None:
        raise Interrupted(signum)

    before = signal.signal(signal.SIGALRM, stop)  # training takes it over, to finish its step
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _requeue(signum: int) -> bool:
    """Has submitit, where it made this process, put the run back into the queue; it goes on from its checkpoint.

    Returns:
        False where submitit will not, since the run's time was over too often; it does not return where it does.
    """
    handler = signal.getsignal(signum)
    if "SUBMITIT_EXECUTOR" not in os.environ or signum not in preempting_signals() or not callable(handler):
        return True
    from submitit.core.utils import UncompletedJobError

    try:
        handler(signum, None)
    except UncompletedJobError as refused:
        print(f"{refused} It is saved (hydra.launcher.max_num_timeout allows more).", file=sys.stderr)
        return False
    return True


def _write_failure(folder: Path, config: Config, error: Exception) -> None:
    """Writes down a run that failed before it had a folder to write to."""
    if (folder / "results.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_plain(config), allow_unicode=True, sort_keys=False), "utf-8")
    results: dict[str, Any] = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    results |= {"model": config.model.name, "data": config.data.name, "seed": config.seed}
    (folder / "results.json").write_text(json.dumps(results, ensure_ascii=False, indent=2) + "\n", "utf-8")


def _refuse_relaunch(config: Config) -> None:
    """Refuses a sweep's run on several devices, unless something outside has started its processes.

    Raises:
        ValueError: Lightning would start the command again for each device, sweep and all (lightning #18175).
    """
    options = config.trainer
    processes = options.devices * options.num_nodes
    if processes == 1:
        return
    started = 0
    if "SLURM_STEP_ID" in os.environ:  # srun started this process; in a batch script alone nothing is started yet
        started = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        started = int(os.environ["WORLD_SIZE"])
    if started == processes or (options.devices == -1 and started > 1):
        return
    raise ValueError(
        f"trainer.devices={options.devices} trainer.num_nodes={options.num_nodes} in a sweep (-m), where "
        f"{started or 'no'} processes have been started for the run: Lightning would start the whole sweep again for "
        "each further device. Use one device a run, or have Slurm start all "
        "of a run's processes: hydra/launcher=submitit_slurm hydra.launcher.nodes=NODES "
        "hydra.launcher.tasks_per_node=DEVICES hydra.launcher.gpus_per_node=DEVICES with trainer.num_nodes=NODES "
        "trainer.devices=DEVICES."
    )
