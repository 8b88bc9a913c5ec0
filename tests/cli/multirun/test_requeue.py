"""What a job of Slurm does after SIGTERM: it waits for its kill, unless it has been cancelled."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from khasr.cli.multirun import requeue as module
from khasr.cli.multirun.requeue import requeue
from khasr.cli.multirun.run import run_of_sweep
from khasr.run.interrupts import Interrupted
from khasr.run.outcome import Outcome

JOB = "JobId={} ArrayJobId=8 ArrayTaskId=1 JobName=submitit JobState={} Reason=None Requeue=1 Restarts={} BatchFlag=1"


@pytest.mark.parametrize(
    ("jobs", "restarts", "ended"),
    [
        ([(8, "RUNNING", 0)], None, False),  # the grace time of a preemption
        ([(8, "COMPLETING", 1)], None, False),  # scontrol requeue
        ([(8, "PENDING", 2)], "1", False),
        ([(8, "COMPLETING", 0)], None, True),  # scancel
        ([(8, "CANCELLED", 0)], None, True),
        ([(8, "COMPLETING", 1)], "1", True),  # scancel after a requeue
        ([(9, "COMPLETING", 0), (8, "RUNNING", 0)], None, False),  # the first job of an array has the array's number
        ([], None, False),  # no answer
    ],
)
def test_job_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[tuple[Any, ...]], restarts: str | None, ended: bool
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\n" + "".join(f"echo '{JOB.format(*job)}'\n" for job in jobs))
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    if restarts is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    assert module._job_has_ended() is ended


def test_waits(compose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome is returned when the job has been cancelled, not before."""
    answers = iter([False, False, True])
    slept: list[float] = []
    monkeypatch.setattr(module, "_job_has_ended", lambda: next(answers))
    monkeypatch.setattr(module.time, "sleep", slept.append)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "8")

    def stopped(config: Any, folder: Path) -> float:
        (folder / "results.json").write_text('{"status": "interrupted"}')
        raise Interrupted(signal.SIGTERM)

    outcome = run_of_sweep(compose("model=tiny"), stopped, tmp_path, [], False)
    assert outcome == Outcome("interrupted", None, 128 + signal.SIGTERM)
    assert len(slept) == 2


@pytest.mark.parametrize("executor", [None, "local"])
def test_outside_slurm(monkeypatch: pytest.MonkeyPatch, executor: str | None) -> None:
    """Elsewhere SIGTERM ends the run at once."""
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    if executor is not None:
        monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)
    monkeypatch.setattr(module, "_job_has_ended", lambda: pytest.fail("asked Slurm"))
    assert requeue(signal.SIGTERM)
