"""Checks everything that needs a GPU: `make gpu-check`.

    python -m experiments.gpu_check.check [--reduced] [--out DIR]

Most cases train a small model with random weights on synthetic phrases, each run for five minutes at most. Prints a
table and writes DIR/gpu_check.json. Without a GPU, or with --reduced, only what a CPU can compute.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console

from experiments.gpu_check.cases import Check, all_cases
from experiments.gpu_check.environment import environment
from experiments.gpu_check.machine import Found, Machine
from experiments.gpu_check.table import result_table

_LONGEST_SECONDS = Machine.longest_seconds


def in_a_process(words: list[str], folder: Path) -> tuple[int, str]:
    """Runs `python -m khasr.train`; returns its exit code and what it printed about an error."""
    command = [sys.executable, "-m", "khasr.train", *words, f"hydra.run.dir='{folder}'"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        return 124, f"not finished after {_LONGEST_SECONDS} s"
    return done.returncode, done.stderr.strip()


def check(machine: Machine, cases: dict[str, Check], note: Callable[[str], None]) -> Iterator[tuple[str, Found, float]]:
    """Runs the cases one after the other; yields their names, what was found, and seconds."""
    for name, case in cases.items():
        note(name)
        begun = time.perf_counter()
        try:
            found = case(machine)
        except Exception as error:  # a case that fails does not end the others
            found = Found(False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        yield name, found, time.perf_counter() - begun
        if torch.cuda.is_initialized():  # the next case may be another process
            gc.collect()
            torch.cuda.empty_cache()


def main() -> int:
    """Prints the table and writes the JSON; returns 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduced", action="store_true", help="only what a CPU can compute")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_check"))
    arguments = parser.parse_args()
    console = Console(highlight=False, markup=False)
    gpus = 0 if arguments.reduced else torch.cuda.device_count()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        machine = Machine(gpus, Path(scratch), in_a_process)
        found = list(check(machine, all_cases(machine), lambda name: console.print(f"{name} ...", soft_wrap=True)))
    report = {"environment": environment(), "gpus": gpus}
    report["cases"] = {name: {**vars(result), "seconds": round(seconds, 1)} for name, result, seconds in found}
    path = arguments.out / "gpu_check.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(result_table(report))
    console.print(f"{path}", soft_wrap=True)
    return 0 if all(result.passed is not False for _, result, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
