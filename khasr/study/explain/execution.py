"""Makes the runs of a plan as sweeps of khasr.train: in stages, under a time budget, resumed after a stop."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import FrameType

from filelock import FileLock

from khasr.cli.resume import quote
from khasr.run.folder import RunFolder
from khasr.study.explain.outcomes import Outcomes, complete_seeds, read_outcomes
from khasr.study.explain.plan import STAGES, Plan, write_cells

# As `python -m khasr.train WORDS`, with the cells as choices of the group `experiment`.
_TRAIN = """
import sys
from pathlib import Path
from khasr.cli.run import run
from khasr.train import train
run("train", train, arguments=sys.argv[2:], choices=Path(sys.argv[1]))
"""

_BUDGET_SPENT = 128 + signal.SIGALRM


@dataclass(frozen=True)
class Ended:
    """Why no further runs were made.

    Attributes:
        code: an exit code; 0 where the plan is complete or the budget is spent.
        reason: a sentence; empty where the plan is complete.
    """

    code: int = 0
    reason: str = ""


def run_stages(
    plan: Plan,
    folder: Path,
    max_hours: float | None,
    jobs: int,
    stop_reason: Callable[[Outcomes], str],
    predict: Callable[[Mapping[int, float]], Mapping[int, float] | None],
) -> Ended:
    """Makes the missing runs, stage by stage, seed by seed within a stage.

    Args:
        max_hours: of this call; a stage's seeds that do not fit in what is left are not begun.
        jobs: runs at once, by Hydra's joblib launcher; 1 leaves the launcher to the plan's words.
        stop_reason: called after the first stage: why the other stages are not run; "" to run them.
        predict: hours of a run of each cell, from measured training seconds of cells.
    """
    until = None if max_hours is None else time.time() + 3600 * max_hours
    for stage in range(len(STAGES)):
        outcomes = read_outcomes(plan, folder / "runs")
        if stage == 1 and complete_seeds(plan, outcomes, [0, plan.whole - 1]):
            reason = stop_reason(outcomes)
            if reason:
                return Ended(0, reason)
        for cells, seeds in _calls(plan, stage, outcomes):
            left = None if until is None else (until - time.time()) / 3600
            fitting = _fitting(cells, seeds, left, jobs, predict(_seconds(outcomes)))
            if fitting:
                code = _train(plan, folder, cells, fitting, left, jobs)
                outcomes = read_outcomes(plan, folder / "runs")
                if code >= 128 and code != _BUDGET_SPENT:
                    return Ended(code, "Stopped.")
                if code and not any(not o.missing for o in outcomes.values()):
                    return Ended(code, "No run has succeeded.")
            if len(fitting) < len(seeds) or (left is not None and until is not None and time.time() >= until):
                return Ended(0, f"The budget of {max_hours:g} h is spent in the stage '{STAGES[stage]}'.")
    return Ended()


def _calls(plan: Plan, stage: int, outcomes: Outcomes) -> list[tuple[list[int], list[int]]]:
    """(cells, seeds) of each sweep of a stage; seeds with the same cells are one sweep. Finished seeds are left out."""
    by_seed = []
    for number, seed in enumerate(plan.seeds):
        cells = plan.cells(stage, number)
        if any((c, seed) not in outcomes or outcomes[c, seed].missing for c in cells):
            by_seed.append((cells, seed))
    return [(cells, [seed for _, seed in group]) for cells, group in groupby(by_seed, key=lambda pair: pair[0])]


def _seconds(outcomes: Outcomes) -> dict[int, float]:
    """Mean training seconds of each cell that has a finished run."""
    found: dict[int, list[float]] = {}
    for (cell, _), outcome in outcomes.items():
        if not outcome.missing and outcome.seconds == outcome.seconds:
            found.setdefault(cell, []).append(outcome.seconds)
    return {cell: sum(values) / len(values) for cell, values in found.items()}


def _fitting(
    cells: Sequence[int], seeds: Sequence[int], left: float | None, jobs: int, hours: Mapping[int, float] | None
) -> list[int]:
    """The first seeds whose runs of all these cells fit in the hours left; all where hours are not known."""
    if left is None:
        return list(seeds)
    if left <= 0:
        return []
    replicate = sum(hours.get(cell, 0.0) for cell in cells) / jobs if hours else 0.0
    return list(seeds) if replicate <= 0 else list(seeds[: int(left / replicate)])


def command(plan: Plan, folder: Path, cells: Sequence[int], seeds: Sequence[int], jobs: int) -> list[str]:
    """The arguments of khasr.train that make these runs."""
    words = [
        "-m",
        f"seed={','.join(map(str, seeds))}",
        f"experiment={','.join(plan.comparison.cell_name(cell) for cell in cells)}",
        "trainer.progress_bar=false",
        *plan.words,
        f"hydra.sweep.dir={quote(str(folder / 'runs'))}",
    ]
    if jobs > 1:
        words += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
    return words


def _train(plan: Plan, folder: Path, cells: Sequence[int], seeds: Sequence[int], left: float | None, jobs: int) -> int:
    """Makes the runs in a separate process; returns its exit code.

    Signals are forwarded to the runs, and this returns when all of them have been saved.
    """
    write_cells(plan, folder)
    words = command(plan, folder, cells, seeds, jobs)
    if left is not None:
        words.append(f"sweep.max_hours={left:.5f}")
    names = ", ".join(plan.comparison.cell_name(cell) for cell in cells)
    print(f"\nRuns of {names} with seeds {', '.join(map(str, seeds))}, in {folder / 'runs'}:", flush=True)
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if jobs > 1 else {})
    # In a separate session: Ctrl-C then reaches the runs once, from here, and they stop after their step, saved.
    process = subprocess.Popen(
        [sys.executable, "-c", _TRAIN, str(folder / "cells"), *words], env=environment, start_new_session=True
    )
    stopped: list[int] = []

    def forward(signum: int, frame: FrameType | None) -> None:
        stopped.append(signum)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)

    before = {signum: signal.signal(signum, forward) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
        _wait_for_runs(folder / "runs")
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    return 128 + stopped[0] if stopped else abs(code) + 128 if code < 0 else code


def _wait_for_runs(runs: Path) -> None:
    """Waits until no process works on a run: joblib's workers save theirs after the process that started them ended."""
    for folder in map(RunFolder, runs.iterdir() if runs.is_dir() else ()):
        if folder.lock.is_file():
            with FileLock(folder.lock):
                folder.lock.unlink(missing_ok=True)


def check_device(plan: Plan) -> None:
    """Checks that this machine can run every cell, where the runs are made on this machine.

    Raises:
        ValueError: fp16 without a GPU.
    """
    if any(word.startswith("hydra/launcher=submitit_slurm") for word in plan.words):
        return
    cells = [plan.comparison.cell(cell) for cell in range(plan.whole)]
    if not any(options["precision.name"] == "fp16" for options in cells):
        return
    on_cpu = any(word == "trainer.accelerator=cpu" for word in plan.words) or plan.base["trainer.accelerator"] == "cpu"
    if on_cpu or not _has_gpu():
        raise ValueError(
            "A cell of the plan has precision fp16, which needs a GPU, and the runs are on a CPU. --fix precision=fp32 "
            "runs all cells in fp32; --plan works without a GPU."
        )


def _has_gpu() -> bool:
    import torch  # only where a plan has fp16: it takes seconds

    return torch.cuda.is_available()
