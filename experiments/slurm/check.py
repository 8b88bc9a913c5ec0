"""Runs what docs/slurm.md describes on a temporary one-node Slurm and prints a table: `make slurm-check`.

Needs root and Debian's slurm-wlm and munge. Each case trains a tiny model on noise; the training metrics must contain
each step once. The logs of a failed case are printed.
"""

import argparse
import csv
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from one_node import missing, one_node
from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
STEPS = 600
OPTIONS = [
    "experiment=quickstart", "data=folder", "data.val_share=0.2", "data.speaker_column=null", "score_test=false",
    "model.architecture={hidden_size:32,layers:2,heads:2,intermediate_size:64,conv_dim:[16,16,16],pos_conv_kernel:8,"
    "pos_conv_groups:2}",
    "trainer.val_every_steps=200", "trainer.log_every_steps=1", "trainer.progress_bar=false",
]  # fmt: skip
# The script of docs/slurm.md for one CPU. The signal is sent by the check: the shortest time limit is a minute.
BATCH = """\
#!/bin/bash
#SBATCH --ntasks=1 --cpus-per-task=1 --time=01:00:00 --output=batch.log
#SBATCH --requeue --open-mode=append --signal=USR1@300
srun {python} -m khasr.train {options} hydra.run.dir=batch
[ $? -ne 138 ] || scontrol requeue $SLURM_JOB_ID    # 138: stopped by SIGUSR1, saved
"""
SWEEP = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=cpu", "hydra.launcher.cpus_per_task=1"]


@dataclass
class Case:
    """A case and what was found.

    Attributes:
        what: the case in words.
        expected: the statuses of its runs, the least number of starts, and the exit code of its sweep or job.
        found: the same, as found.
    """

    what: str
    expected: str
    found: str = ""
    passed: bool = False


class Slurm:
    """Slurm's commands on the node, in a folder that contains the corpus."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.folder = folder

    def call(self, *command: str) -> str:
        """The output of a command; raises CalledProcessError if it fails."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60
        ).stdout

    def sweep(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        """Starts a sweep in the folder `name`; its output is in NAME.log."""
        command = [sys.executable, "-m", "khasr.train", "-m", *OPTIONS, "data.root=corpus", *SWEEP, *words,
                   f"hydra.sweep.dir={name}"]  # fmt: skip
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def jobs(self) -> dict[str, tuple[str, int]]:
        """State and restarts of each job by its number; Slurm forgets a finished job after minutes."""
        found = re.findall(
            r"^JobId=(\d+) .*\bJobState=(\w+) .*\bRestarts=(\d+) ", self.call("scontrol", "-o", "show", "job"), re.M
        )
        return {job: (state, int(restarts)) for job, state, restarts in found}

    def running(self, before: set[str]) -> str:
        """Waits until a job that is not among `before` runs; its number."""
        return wait(lambda: next((j for j, (s, _) in self.jobs().items() if j not in before and s == "RUNNING"), ""))


def wait(condition: Callable[[], str], seconds: int = 600) -> str:
    """The first result of `condition` that is not empty.

    Raises:
        TimeoutError: there is none in time.
    """
    for _ in range(2 * seconds):
        if result := condition():
            return result
        time.sleep(0.5)
    raise TimeoutError(f"waited {seconds} s")


def steps(run: Path) -> list[int]:
    """The steps in the training metrics of a run, in the order in which they were written."""
    if not (run / "metrics.csv").is_file():
        return []
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


def runs_of(sweep: Path) -> list[Path]:
    """The folders of the runs of a sweep."""
    return sorted(path for path in sweep.glob("*_????????") if path.is_dir())


def outcome(run: Path, total: int) -> str:
    """The status of a run, and whether a completed one has each step once."""
    status = str(json.loads((run / "results.json").read_text(encoding="utf-8"))["status"])
    if status == "completed" and steps(run) != list(range(1, total + 1)):
        return "completed with steps missing or repeated"
    return status


def reached(run: Callable[[], list[Path]], least: int) -> None:
    """Waits until the first of the runs has logged `least` steps."""
    wait(lambda: "yes" if any(len(steps(path)) >= least for path in run()) else "")


def batch_script(slurm: Slurm, case: Case) -> None:
    """SIGUSR1 twice: the script requeues the job, which resumes."""
    options = " ".join(f"'{word}'" for word in [*OPTIONS, f"trainer.max_steps={STEPS}", "data.root=corpus"])
    (slurm.folder / "batch.sh").write_text(BATCH.format(python=sys.executable, options=options))
    job = slurm.call("sbatch", "--parsable", "batch.sh").strip()
    run = slurm.folder / "batch"
    for restart in range(2):
        wait(lambda n=restart: "yes" if slurm.jobs()[job] == ("RUNNING", n) else "")  # type: ignore[misc]
        reached(lambda: [run], len(steps(run)) + 20)
        slurm.call("scancel", "--signal=USR1", job)
    state = wait(lambda: s if (s := slurm.jobs()[job][0]) in ("COMPLETED", "FAILED", "TIMEOUT") else "")
    case.found = f"{outcome(run, STEPS)}, {slurm.jobs()[job][1] + 1} starts, {state}"


def timed_out_sweep(slurm: Slurm, case: Case) -> None:
    """Two runs reach their time limit; submitit requeues them."""
    before = set(slurm.jobs())
    total = 8 * STEPS
    sweep = slurm.sweep(
        "timed_out", "optimizer.lr=1e-3,2e-3", f"trainer.max_steps={total}", "hydra.launcher.timeout_min=2",
        "hydra.launcher.signal_delay_s=30", "hydra.launcher.max_num_timeout=20",
    )  # fmt: skip
    code = sweep.wait(1800)
    starts = [restarts + 1 for job, (_, restarts) in slurm.jobs().items() if job not in before]
    outcomes = ", ".join(outcome(run, total) for run in runs_of(slurm.folder / "timed_out"))
    case.found = f"{outcomes}, {'several starts each' if min(starts) > 1 else f'starts {starts}'}, exit code {code}"


def requeued_sweep(slurm: Slurm, case: Case) -> None:
    """`scontrol requeue` sends SIGTERM; the next start completes the run, and the sweep waits for it."""
    before = set(slurm.jobs())
    sweep = slurm.sweep("requeued", "seed=1", f"trainer.max_steps={STEPS}")
    job = slurm.running(before)
    reached(lambda: runs_of(slurm.folder / "requeued"), 20)
    slurm.call("scontrol", "requeue", job)
    code = sweep.wait(600)
    (run,) = runs_of(slurm.folder / "requeued")
    case.found = f"{outcome(run, STEPS)}, {slurm.jobs()[job][1] + 1} starts, exit code {code}"


def cancelled_sweep(slurm: Slurm, case: Case) -> None:
    """`scancel` sends SIGTERM too; the run is saved, and the sweep ends."""
    before = set(slurm.jobs())
    sweep = slurm.sweep("cancelled", "seed=1", f"trainer.max_steps={100 * STEPS}")
    job = slurm.running(before)
    reached(lambda: runs_of(slurm.folder / "cancelled"), 20)
    slurm.call("scancel", job)
    code = sweep.wait(120)
    (run,) = runs_of(slurm.folder / "cancelled")
    case.found = f"{outcome(run, STEPS)}, {slurm.jobs()[job][1] + 1} starts, exit code {code}"


CASES: dict[Callable[[Slurm, Case], None], tuple[str, str]] = {
    batch_script: ("batch script, SIGUSR1 twice", "completed, 3 starts, COMPLETED"),
    requeued_sweep: ("submitit_slurm, scontrol requeue", "completed, 2 starts, exit code 0"),
    cancelled_sweep: ("submitit_slurm, scancel", "interrupted, 1 starts, exit code 143"),
    timed_out_sweep: ("submitit_slurm, time limit", "completed, completed, several starts each, exit code 0"),
}


def write_corpus(root: Path) -> None:
    """24 utterances of noise, each with a random word."""
    rng = np.random.default_rng(0)
    root.mkdir()
    rows = ["audio\ttext"]
    for i in range(24):
        soundfile.write(root / f"u{i:02d}.wav", 0.1 * rng.standard_normal(rng.integers(6_000, 12_000)), 16_000)
        rows.append(f"u{i:02d}.wav\t{''.join(rng.choice(list('កខគង'), 3))}")
    (root / "utterances.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def print_logs(folder: Path) -> None:
    """Prints the ends of the logs of the sweeps, jobs and daemons."""
    for path in sorted({*folder.glob("work/*.log"), *folder.glob("work/*/.submitit/*/*_log.*"), *folder.glob("*.log")}):
        print(f"--- {path.relative_to(folder)}")
        print("\n".join(path.read_text(errors="replace").splitlines()[-40:]), flush=True)


def main() -> int:
    """Runs the cases and prints the table; exits with 1 if Slurm cannot be started or a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a folder for the logs of Slurm and of the runs; must not exist")
    options = parser.parse_args()
    console = Console(highlight=False, markup=False)
    if reason := missing():
        console.print(f"No Slurm can be started here: {reason}")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the daemons, as Ctrl-C does
    cases = [Case(*words) for words in CASES.values()]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "work").mkdir()
        write_corpus(folder / "work" / "corpus")
        with one_node(folder) as environment:
            slurm = Slurm(environment, folder / "work")
            for run, case in zip(CASES, cases, strict=True):
                begun = time.monotonic()
                try:
                    run(slurm, case)
                except (OSError, subprocess.SubprocessError, LookupError, ValueError) as error:
                    case.found = f"{type(error).__name__}: {error}"
                case.passed = case.found == case.expected
                console.print(f"{case.what}: {case.found} ({time.monotonic() - begun:.0f} s)")
        if not all(case.passed for case in cases):
            print_logs(folder)
        if options.keep is not None:
            keep_logs(folder, options.keep)
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("case", "expected", "found", "passed"):
        table.add_column(column)
    for case in cases:
        table.add_row(case.what, case.expected, case.found, "yes" if case.passed else "no")
    console.print(table)
    return 0 if all(case.passed for case in cases) else 1


def keep_logs(folder: Path, target: Path) -> None:
    """Copies the logs, without the paths of this machine."""
    target.mkdir(parents=True)
    for path in sorted({*folder.glob("work/*.log"), *folder.glob("work/*/.submitit/*/*_log.*"), *folder.glob("*.log")}):
        text = path.read_text(errors="replace")
        for private, public in ((str(folder), "FOLDER"), (str(ROOT), "KHASR"), (str(Path.home()), "HOME")):
            text = text.replace(private, public)
        (target / "_".join(path.relative_to(folder).parts)).write_text(text)


if __name__ == "__main__":
    sys.exit(main())
