"""Ctrl-C and SIGTERM on sweeps whose runs are in several processes; killed processes."""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from khasr.cli.multirun import stopping
from khasr.cli.multirun.losses import separate_losses
from khasr.cli.multirun.stopping import StopRequest, stoppable
from khasr.run.interrupts import PASSED_ON, Interrupted, StopSignals
from khasr.run.outcome import Outcome
from tests.cli.multirun.conftest import LAUNCHERS, ROOT, STAND_IN
from tests.commands import Commands


@pytest.mark.parametrize(
    ("signum", "group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["Ctrl-C in a terminal", "SIGTERM to the first process"],
)
def test_joblib(light_command: Commands, tmp_path: Path, signum: int, group: bool) -> None:
    """The running jobs are saved, no further one begins, the summary is printed, and no process is left."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    command = [light_command.python, str(script), "-m", "model=tiny", "trainer.max_steps=1000", "seed=1,2,3",
               "hydra.sweep.dir=sweep", *LAUNCHERS["joblib"]]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a shell's background jobs
    )  # fmt: skip
    while len(list(tmp_path.glob("sweep/*/config.yaml"))) < 2:
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(1)  # until both take steps
    if group:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    printed = process.communicate(timeout=90)[0]
    assert process.returncode == 128 + signum, printed
    assert "3 runs in sweep: 2 interrupted, 1 not begun" in printed
    assert "Repeat the command to run the unfinished runs" in printed
    assert len(list(tmp_path.glob("sweep/*/checkpoints/last.ckpt"))) == 2
    assert _processes_in(tmp_path) == []


def _processes_in(folder: Path) -> list[str]:
    """The command lines of processes whose current folder it is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text())
        except OSError:  # it ended, or is of a different user
            continue
    return found


def test_request(capsys: pytest.CaptureFixture[str]) -> None:
    """The first signal is passed on, the second ends the sweep; the handlers from before are restored."""
    before = signal.getsignal(signal.SIGTERM)
    passed: list[int] = []
    with pytest.raises(KeyboardInterrupt), StopRequest(lambda: passed.append(1)) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert passed == [1]
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert "SIGTERM received: the runs are saved and the sweep stops." in capsys.readouterr().err
    outcomes = [Outcome("completed", 0.5, 0), Outcome("interrupted", None, 1), Outcome("failed", None, 2)]
    assert [o.code for o in stop.mark(outcomes)] == [0, 143, 2]


def test_process_of_joblib(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal ends the run that is being prepared; between runs it is noted, and no further run begins."""
    monkeypatch.setattr(multiprocessing.current_process(), "name", "LokyProcess-1")
    received: list[int] = []
    monkeypatch.setattr(stopping, "_received", received)

    def run(config: Any, task: Any, folder: Any, codes: list[int], show: bool) -> Outcome:
        if codes:
            return Outcome("not begun", None, codes[-1])
        try:
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("it was not interrupted")
        except Interrupted:
            os.kill(os.getpid(), PASSED_ON)  # what the terminal has sent, passed on
        return Outcome("interrupted", None, 130)

    signals = (signal.SIGINT, signal.SIGTERM, PASSED_ON)
    before = [signal.getsignal(signum) for signum in signals]
    try:
        assert stoppable(run)(None, None, None, [], False).status == "interrupted"
        os.kill(os.getpid(), signal.SIGTERM)
        assert stoppable(run)(None, None, None, [], False).status == "not begun"
    finally:
        for signum, handler in zip(signals, before, strict=True):
            signal.signal(signum, handler)


def test_passed_on() -> None:
    """A signal that is passed on stops a run, and is no second signal for one that stops already."""
    with StopSignals() as stop:
        stop.training = True
        os.kill(os.getpid(), PASSED_ON)
        assert stop.requested == PASSED_ON
        os.kill(os.getpid(), PASSED_ON)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


def test_killed_job() -> None:
    """The results of a killed job of submitit are [None], so that the others are waited for."""
    from submitit.core.core import Job
    from submitit.core.utils import UncompletedJobError

    class Killed(Job):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self._sub_jobs = []
            self._cancel_at_deletion = False

        def wait(self) -> None:
            raise UncompletedJobError("killed")

    with separate_losses():
        assert Killed().results() == [None]
    with pytest.raises(UncompletedJobError):
        Killed().results()


def test_killed_process(start: Any, tmp_path: Path) -> None:
    """The sweep waits for the jobs after a killed one."""
    words = ["optimizer.lr=0.1", "seed=666,1", "trainer.max_steps=40", *LAUNCHERS["submitit_local"]]
    printed = start(*words, code=1).stdout
    assert "2 runs in sweep: 1 failed, 1 completed" in printed
    statuses = [json.loads(f.read_text())["status"] for f in tmp_path.glob("sweep/*/results.json")]
    assert statuses == ["completed"]  # the killed one has written nothing
