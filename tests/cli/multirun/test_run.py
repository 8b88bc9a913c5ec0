"""One run of a sweep: its budget, its outcome, requeueing."""

import math
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from khasr.cli.multirun.run import budget, run_of_sweep
from khasr.cli.multirun.sweep import for_sweep
from khasr.config import Config, to_plain
from khasr.run.interrupts import Interrupted
from khasr.run.outcome import Outcome, is_unfinished, read_outcome
from tests.cli.multirun.conftest import ROOT, STAND_IN
from tests.commands import Commands


def test_budget_signal() -> None:
    """The end of a budget interrupts what runs inside it, and nothing after it."""
    with pytest.raises(Interrupted, match="SIGALRM"), budget(time.time() + 0.1):
        time.sleep(60)
    with budget(time.time() + 0.2):
        pass
    time.sleep(0.3)
    with pytest.raises(Interrupted), budget(time.time() - 1):
        pytest.fail("it began")


def test_completed_again(compose: Any, tmp_path: Path) -> None:
    """A completed run that is started again keeps its weights."""
    config: Config = compose("model=tiny")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_plain(for_sweep(config))))
    (tmp_path / "results.json").write_text('{"status": "completed", "val": {"wer": 0.5}}')
    (tmp_path / "checkpoints").mkdir()
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.touch()
    again = run_of_sweep(config, lambda *_: pytest.fail("it began"), tmp_path, [], False)
    assert again == Outcome("completed", 0.5, 0)
    assert best.is_file()


def test_refused(compose: Any, tmp_path: Path) -> None:
    """If a run is refused because its folder has a different run, its outcome is not that of the other run."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_plain(compose("model=tiny"))))
    (tmp_path / "results.json").write_text('{"status": "completed", "val": {"wer": 0.5}}')
    other: Config = compose("model=tiny", "seed=2")
    codes: list[int] = []
    refused = run_of_sweep(other, lambda *_: pytest.fail("it began"), tmp_path, codes, False)
    assert refused == Outcome("failed", None, 2)
    assert codes == [2]


def test_not_requeued(
    compose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that submitit does not requeue is saved, and the others continue."""
    from submitit.core.utils import UncompletedJobError

    def refuse(signum: int, frame: object) -> None:
        raise UncompletedJobError("Job not requeued because: timed-out too many times.")

    def preempted(config: Config, folder: Path) -> float:
        (folder / "results.json").write_text('{"status": "interrupted"}')
        raise Interrupted(signal.SIGUSR2)

    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = signal.signal(signal.SIGUSR2, refuse)
    try:
        outcome = run_of_sweep(compose("model=tiny"), preempted, tmp_path, [], False)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert outcome == Outcome("interrupted", None, 1)
    assert "max_num_timeout" in capsys.readouterr().err


def test_budget_of_one_run(light_command: Commands, tmp_path: Path) -> None:
    """sweep.max_hours also applies without -m."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    command = [light_command.python, str(script), "model=tiny", "trainer.max_steps=100000", "hydra.run.dir=run",
               "sweep.max_hours=0.0003"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=120)
    assert done.returncode == 142
    assert int((tmp_path / "run" / "checkpoints" / "last.ckpt").read_text()) > 0


def test_is_unfinished(compose: Any, tmp_path: Path) -> None:
    """A run is resumed if the options are equal, refused if they differ."""
    config: Config = compose("model=tiny", "optimizer.lr=1e-3")
    assert not is_unfinished(tmp_path, config)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_plain(config)))
    (tmp_path / "results.json").write_text('{"status": "interrupted"}')
    assert not is_unfinished(tmp_path, config)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert is_unfinished(tmp_path, config)
    assert is_unfinished(tmp_path, compose("model=tiny", "optimizer.lr=1e-3", "logger=wandb", "trainer.devices=2"))
    with pytest.raises(ValueError, match=r"optimizer\.lr is 0\.001 there and 0\.002 here"):
        is_unfinished(tmp_path, compose("model=tiny", "optimizer.lr=2e-3"))
    with pytest.raises(ValueError, match=r"with resume=\S+ trainer\.max_steps=STEPS"):
        is_unfinished(tmp_path, compose("model=tiny", "optimizer.lr=1e-3", "trainer.max_steps=9"))
    (tmp_path / "results.json").write_text('{"status": "diverged"}')
    assert not is_unfinished(tmp_path, config)
    assert read_outcome(tmp_path) == Outcome("diverged", math.inf, 1)


@pytest.mark.parametrize(
    ("environment", "words", "code"),
    [
        ({}, ["trainer.devices=2"], 2),
        ({"SLURM_NTASKS": "2"}, ["trainer.devices=2"], 2),  # in a batch script, which has started no processes
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "0"}, ["trainer.devices=2"], 0),
        ({"SLURM_NTASKS": "16", "SLURM_STEP_ID": "0"}, ["trainer.devices=8", "trainer.num_nodes=2"], 2),
        ({"SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_ID": "0"}, ["trainer.devices=8", "trainer.num_nodes=2"], 0),
        ({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}, ["trainer.devices=2"], 0),
    ],
)
def test_several_devices(start: Any, environment: dict[str, str], words: list[str], code: int) -> None:
    """Several devices in a sweep need processes that were started outside it."""
    printed = start("seed=1,2", *words, code=code, **environment).stderr
    assert printed.count("hydra/launcher=submitit_slurm hydra.launcher.nodes=NODES") == (2 if code else 0)


def test_restarted_by_scheduler(light_command: Commands, tmp_path: Path) -> None:
    """The same command resumes the run in its folder."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    command = [light_command.python, str(script), "model=tiny", "trainer.max_steps=400", "hydra.run.dir=run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    while not (tmp_path / "run" / "starts").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 128 + signal.SIGUSR1
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert 0 < int(last.read_text()) < 400
    last.write_text("399")
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "run" / "starts").read_text().splitlines() == ["", str(tmp_path / "run")]


def test_requeued(light_command: Commands, tmp_path: Path) -> None:
    """submitit requeues a preempted run, which resumes."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    command = [light_command.python, str(script), "-m", "model=tiny", "trainer.max_steps=100", "seed=1", "hydra.sweep.dir=sweep",
               "hydra/launcher=submitit_local"]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while not list(tmp_path.glob("sweep/*/starts")):
        assert process.poll() is None
        time.sleep(0.1)
    (controller,) = (
        int(p.name) for p in (tmp_path / "sweep" / ".submitit").iterdir() if p.is_dir() and p.name.isdigit()
    )
    (task,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    time.sleep(0.5)
    os.kill(int(task), signal.SIGUSR2)
    assert process.wait(90) == 0
    (folder,) = tmp_path.glob("sweep/*_????????")
    assert (folder / "starts").read_text().splitlines() == ["", str(folder)]
    assert read_outcome(folder) == Outcome("completed", 1e-5, 0)
