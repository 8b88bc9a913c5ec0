"""Many runs from one command: what fails, what is left out, what is gone on with, under each launcher.

Most runs here are a stand-in that imports no torch and writes what a run writes; two are real.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from khasr.cli.multirun.launcher import ResumingLauncher
from khasr.cli.multirun.run import budget, run_of_sweep
from khasr.cli.multirun.search import continue_study
from khasr.cli.multirun.sweep import Sweep, folder_name, for_sweep
from khasr.config import Config, to_plain
from khasr.run.interrupts import Interrupted
from khasr.run.outcome import Outcome, is_unfinished, read_outcome
from tests.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]
# WER is optimizer.lr; seed says how a run ends; each start of a run leaves a line in `starts`.
STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
import yaml
from khasr.config import to_plain
from khasr.cli.run import run
from khasr.run.interrupts import Interrupted, StopSignals

def task(config, folder):
    (folder / "checkpoints").mkdir(exist_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    assert last.is_file() == (config.resume is not None)
    with (folder / "starts").open("a") as file:
        print(config.resume or "", file=file)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_plain(config)))
    results = {"status": "interrupted", "val": None}
    try:
        with StopSignals() as stop:
            stop.training = True
            step = int(last.read_text()) if last.is_file() else 0
            while step < config.trainer.max_steps:
                time.sleep(0.05)
                step += 1
                if step == int(os.environ.get("BUDGET_ENDS_AT", "0")):
                    os.kill(os.getpid(), signal.SIGALRM)
                if stop.requested is not None:
                    last.write_text(str(step))
                    raise Interrupted(stop.requested)
        if config.seed == 13:
            raise RuntimeError("unlucky")
        if config.seed == 7:
            results["status"] = "diverged"
            raise RuntimeError("not finite")
        if config.seed == 666:
            os.kill(os.getpid(), signal.SIGKILL)
        results |= {"status": "completed", "val": {"wer": config.optimizer.lr}}
        return config.optimizer.lr
    except RuntimeError:
        if config.seed == 13:
            results["status"] = "failed"
        raise
    finally:
        (folder / "results.json").write_text(json.dumps(results))

if __name__ == "__main__":
    run("train", task)
"""
QUICK = ["trainer.max_steps=1", "model=tiny"]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Starts the stand-in's sweep in the folder `sweep`."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")

    def run(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, str(script), "-m", *QUICK, "hydra.sweep.dir=sweep", *words],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def runs(tmp_path: Path) -> dict[float, tuple[str, int]]:
    """Status and number of starts by WER, that is by lr."""
    found = {}
    for folder in (tmp_path / "sweep").iterdir():
        if (folder / "results.json").is_file():
            lr = yaml.safe_load((folder / "config.yaml").read_text())["optimizer"]["lr"]
            starts = (folder / "starts").read_text().count("\n") if (folder / "starts").is_file() else 0
            found[lr] = (json.loads((folder / "results.json").read_text())["status"], starts)
    return found


LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_run_that_fails_is_written_down_the_others_go_on_and_a_second_start_runs_what_is_missing(
    start: Any, tmp_path: Path, launcher: str
) -> None:
    told = start("optimizer.lr=0.1,0.2,-1", "seed=1", *LAUNCHERS[launcher], code=2).stdout
    assert runs(tmp_path) == {0.1: ("completed", 1), 0.2: ("completed", 1), -1.0: ("failed", 0)}
    assert "3 runs in sweep: 2 completed, 1 failed" in told
    assert "Lowest WER on val: 10.00%" in told
    told = start("optimizer.lr=0.1,0.2,0.3", "seed=1", *LAUNCHERS[launcher]).stdout
    assert runs(tmp_path) == {0.1: ("completed", 1), 0.2: ("completed", 1), 0.3: ("completed", 1), -1.0: ("failed", 0)}
    assert "3 runs in sweep: 3 completed; 2 of them had finished before" in told


def test_a_run_that_raises_or_diverges_leaves_code_1_and_only_the_failed_one_is_tried_again(
    start: Any, tmp_path: Path
) -> None:
    words = ["seed=13,7,1", "optimizer.lr=0.1"]
    told = start(*words, code=1)
    assert "unlucky" in told.stderr
    again = start(*words, code=1)
    starts = {
        yaml.safe_load((f / "config.yaml").read_text())["seed"]: (f / "starts").read_text().count("\n")
        for f in (tmp_path / "sweep").iterdir()
        if f.is_dir()
    }
    assert starts == {13: 2, 7: 1, 1: 1}
    assert "2 of them had finished before" in again.stdout


def test_a_process_that_is_killed_does_not_take_the_sweep_with_it(start: Any, tmp_path: Path) -> None:
    start("optimizer.lr=0.1", "seed=666,1", *LAUNCHERS["submitit_local"], code=1)
    statuses = [json.loads(f.read_text())["status"] for f in tmp_path.glob("sweep/*/results.json")]
    assert statuses == ["completed"]  # the other was killed before it could write


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_when_the_budget_is_spent_those_that_run_are_saved_and_gone_on_with(
    start: Any, tmp_path: Path, launcher: str
) -> None:
    words = ["optimizer.lr=0.1,0.2", "trainer.max_steps=5", *LAUNCHERS[launcher]]
    told = start(*words, code=142, BUDGET_ENDS_AT="3").stdout
    begun = runs(tmp_path)
    # One after the other, the second does not begin; here both run when their budget ends.
    assert begun == dict.fromkeys([0.1] if launcher == "basic" else [0.1, 0.2], ("interrupted", 1))
    assert {path.read_text() for path in tmp_path.glob("sweep/*/checkpoints/last.ckpt")} == {"3"}
    assert len(list(tmp_path.glob("sweep/lr-*"))) == len(begun)
    assert "Repeat the command to run the unfinished runs" in told
    start(*words)
    assert runs(tmp_path) == {lr: ("completed", 2 if lr in begun else 1) for lr in (0.1, 0.2)}
    for lr in begun:
        (folder,) = tmp_path.glob(f"sweep/lr-{lr}_*")
        assert (folder / "starts").read_text().splitlines() == ["", str(folder)]


@pytest.mark.parametrize(
    ("spent", "launcher"),
    [("sweep.max_hours=1e-9", "basic"), ("sweep.until=1", "basic"), ("sweep.until=1", "joblib")],
    ids=["before the first run", "as it begins, here", "as it begins, elsewhere"],
)
def test_no_run_begins_when_the_budget_is_spent(start: Any, tmp_path: Path, spent: str, launcher: str) -> None:
    told = start("optimizer.lr=0.1,0.2,0.3", spent, *LAUNCHERS[launcher], code=142).stdout
    assert "3 runs in sweep: 3 not begun" in told
    assert not list(tmp_path.glob("sweep/lr-*"))


def test_the_end_of_a_budget_stops_what_runs_and_not_what_comes_later() -> None:
    with pytest.raises(Interrupted, match="SIGALRM"), budget(time.time() + 0.1):
        time.sleep(60)
    with budget(time.time() + 0.2):
        pass
    time.sleep(0.3)
    with pytest.raises(Interrupted), budget(time.time() - 1):
        pytest.fail("it began")


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_an_optuna_sweep_survives_and_goes_on_where_it_was(start: Any, tmp_path: Path, launcher: str) -> None:
    words = [
        "hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=1", "optimizer.lr=tag(log, interval(0.01, 0.5))",
        *LAUNCHERS[launcher],
    ]  # fmt: skip
    start(*words, "hydra.sweeper.n_trials=3")
    assert len(runs(tmp_path)) == 3
    told = start(*words, "hydra.sweeper.n_trials=3").stdout  # nothing is missing
    assert sorted(n for _, n in runs(tmp_path).values()) == [1] * 3
    start(*words, "hydra.sweeper.n_trials=5")
    found = runs(tmp_path)
    assert sorted(n for _, n in found.values()) == [1] * 5, told
    best = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(min(found))


def test_an_optuna_sweep_goes_on_with_the_trial_that_its_budget_stopped_and_tells_a_diverged_one_apart(
    start: Any, tmp_path: Path
) -> None:
    words = ["hydra/sweeper=optuna", "optimizer.lr=interval(0.01, 0.5)", "trainer.max_steps=5"]
    start(*words, "hydra.sweeper.n_trials=2", code=142, BUDGET_ENDS_AT="3")
    (stopped,) = runs(tmp_path)
    start(*words, "hydra.sweeper.n_trials=1")
    assert runs(tmp_path) == {stopped: ("completed", 2)}
    start(*words, "hydra.sweeper.n_trials=2", "seed=choice(7)", "hydra.sweeper.study_name=other", code=1)
    study = optuna.load_study(study_name="other", storage=f"sqlite:///{tmp_path}/sweep/optuna.db")
    assert [t.value for t in study.trials] == [1.0, 1.0]
    start(*words[:2], "hydra.sweeper.n_trials=2", "seed=choice(13)", "hydra.sweeper.study_name=third", code=1)
    study = optuna.load_study(study_name="third", storage=f"sqlite:///{tmp_path}/sweep/optuna.db")
    assert [t.state.name for t in study.trials] == ["FAIL", "FAIL"]


def test_an_optuna_sweep_with_other_options_does_not_go_on_with_the_study_that_is_there(start: Any) -> None:
    words = ["hydra/sweeper=optuna", "optimizer.lr=interval(0.01, 0.5)", "hydra.sweeper.n_trials=1"]
    start(*words, "seed=1")
    told = start(*words, "seed=1", "logger=wandb", "trainer.num_nodes=1").stdout  # not other options
    assert "no trial is missing" in told
    told = start(*words, "seed=2", code=2).stderr
    assert "sweep contains a search with different options: seed is 1 there and 2 here" in told
    told = start(*words, "model=tiny", code=2).stderr
    assert "seed is 1 there and not fixed here" in told


def test_a_search_whose_trials_all_failed_says_so_and_how_they_ended(start: Any) -> None:
    told = start("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "seed=choice(13)", "optimizer.lr=interval(0.1,0.2)",
                 code=1)  # fmt: skip
    assert "2 runs in sweep: 2 failed" in told.stdout
    assert told.stderr.rstrip().endswith("No trial of the search in sweep has a WER: all failed.")
    assert "best_trial" not in told.stderr


def test_a_sweep_s_runs_are_not_given_folders_by_the_user(start: Any, tmp_path: Path) -> None:
    told = start("seed=1,2", "hydra.sweep.subdir='s${seed}'", code=2).stderr
    assert "hydra.sweep.subdir=s${seed}: khasr names the folders" in told
    assert "Traceback" not in told
    assert not (tmp_path / "sweep").exists()


def test_a_completed_run_that_is_started_once_more_keeps_its_weights(compose: Any, tmp_path: Path) -> None:
    config: Config = compose("model=tiny")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_plain(for_sweep(config))))
    (tmp_path / "results.json").write_text('{"status": "completed", "val": {"wer": 0.5}}')
    (tmp_path / "checkpoints").mkdir()
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.touch()
    again = run_of_sweep(config, lambda *_: pytest.fail("it began"), tmp_path, [], False)
    assert again == Outcome("completed", 0.5, 0)
    assert best.is_file()


def test_a_run_that_is_refused_is_not_told_as_the_one_that_is_there(compose: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_plain(compose("model=tiny"))))
    (tmp_path / "results.json").write_text('{"status": "completed", "val": {"wer": 0.5}}')
    other: Config = compose("model=tiny", "seed=2")
    codes: list[int] = []
    refused = run_of_sweep(other, lambda *_: pytest.fail("it began"), tmp_path, codes, False)
    assert refused == Outcome("failed", None, 2)
    assert codes == [2]


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_run_whose_options_cannot_be_read_is_a_failed_one(start: Any, launcher: str) -> None:
    told = start("+optimizer.foo=1", "seed=1,2", *LAUNCHERS[launcher], code=2)
    assert "2 runs in sweep: 2 failed" in told.stdout
    assert "AttributeError" not in told.stderr
    assert "foo" in told.stderr


def test_a_sweep_of_a_run_that_is_resumed_is_refused(start: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    assert "-m with resume=run: a sweep starts new runs" in start("resume=run", "seed=1,2", code=2).stderr


def test_a_run_that_submitit_will_not_queue_again_is_saved_and_the_others_go_on(
    compose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_an_override_of_hydra_s_may_refer_to_what_only_a_run_has(start: Any) -> None:
    told = start("seed=1", "+hydra.job.env_set.RUN='${hydra.job.num}'").stdout
    assert "1 runs in sweep: 1 completed" in told


def test_when_a_process_is_lost_what_never_began_is_told_as_such(tmp_path: Path) -> None:
    from concurrent.futures.process import BrokenProcessPool

    class Lost:
        def launch(self, overrides: Any, initial_job_idx: int) -> None:
            (tmp_path / "a").mkdir()
            raise self.error

    lost = Lost()
    launcher = ResumingLauncher.__new__(ResumingLauncher)
    launcher._launcher, launcher._sweep = lost, Sweep(tmp_path)  # type: ignore[assignment]
    lost.error = BrokenProcessPool("gone")  # type: ignore[attr-defined]
    found = launcher._launch({"a": [], "b": []}, 0)
    assert [outcome.status for outcome in found] == ["failed", "not begun"]


def test_ctrl_c_on_a_sweep_tells_how_far_it_came(tmp_path: Path) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    command = [sys.executable, str(script), "-m", "model=tiny", "trainer.max_steps=1000", "seed=1,2",
               "hydra.sweep.dir=sweep", *LAUNCHERS["joblib"]]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("sweep/*/starts")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=90)[0]
    assert process.returncode == 130
    assert "2 runs in sweep" in told
    assert "Repeat the command to run the unfinished runs" in told


def test_a_run_alone_keeps_its_budget_too(tmp_path: Path) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    command = [sys.executable, str(script), "model=tiny", "trainer.max_steps=100000", "hydra.run.dir=run",
               "sweep.max_hours=0.0003"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=120)
    assert done.returncode == 142
    assert int((tmp_path / "run" / "checkpoints" / "last.ckpt").read_text()) > 0


def test_two_starts_at_once_are_refused(start: Any, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "sweep").mkdir()
    with FileLock(tmp_path / "sweep" / ".lock"):
        told = start("seed=1,2", code=2).stderr
    assert "sweep contains a running sweep" in told
    assert "Traceback" not in told


def test_a_folder_is_named_by_what_its_run_does_not_share_and_by_a_hash_of_all(tmp_path: Path) -> None:
    common = ["data.root='/a (b)/c'", "optimizer.lr=1e-5,3e-5", "sweep.max_hours=3"]
    one = folder_name(["data.root=/a (b)/c", "optimizer.lr=3e-5"], common)
    assert one.startswith("lr-3e-5_")
    assert one == folder_name(["optimizer.lr=3e-5", "data.root=/a (b)/c", "sweep.max_hours=1", "logger=wandb"], common)
    assert one != folder_name(["data.root=/b", "optimizer.lr=3e-5"], ["data.root=/b"])
    long = folder_name([f"model.architecture.conv_dim={list(range(200))}"], [])
    assert len(long) < 100
    assert all(c.isalnum() or c in "._-" for c in long)


def test_a_run_is_gone_on_with_where_its_options_are_the_same_and_refused_where_they_are_others(
    compose: Any, tmp_path: Path
) -> None:
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
    assert read_outcome(tmp_path) == Outcome("diverged", 1.0, 1)


def test_a_study_tries_again_what_was_begun_and_not_done_and_draws_nothing_twice(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    options = OmegaConf.create(
        {
            "storage": None,
            "study_name": None,
            "n_trials": 10,
            "n_jobs": 2,
            "max_failure_rate": 0.0,
            "sampler": {"seed": 3},
        }
    )
    first = continue_study(options, tmp_path, sequential=False)
    assert (first.n_trials, first.n_jobs, first.max_failure_rate, first.sampler.seed) == (10, 2, 1.0, 3)
    study = optuna.create_study(study_name="sweep", storage=first.storage)
    values = []
    for told in (0.5, None, "running"):
        trial = study.ask()
        values.append(trial.suggest_float("lr", 0, 1))
        if told != "running":
            study.tell(trial, told, state=optuna.trial.TrialState.FAIL if told is None else None)
    second = continue_study(options, tmp_path, sequential=True)
    assert (second.n_trials, second.n_jobs, second.sampler.seed) == (9, 1, 6)
    for _ in range(2):  # a third start finds them waiting and adds none
        study = optuna.load_study(study_name="sweep", storage=first.storage)
        waiting = [t.system_attrs["fixed_params"]["lr"] for t in study.trials if t.state.name == "WAITING"]
        assert waiting == values[1:]
        continue_study(options, tmp_path, sequential=True)


def test_a_sweep_says_how_its_runs_ended() -> None:
    sweep = Sweep(Path("runs/lr"), {"a": Outcome("completed", 0.5, 0), "b": Outcome("completed", 0.25, 0)}, {"a"})
    assert sweep.code == 0
    assert sweep.describe() == (
        "2 runs in runs/lr: 2 completed; 1 of them had finished before\nLowest WER on val: 25.00%, b"
    )
    sweep.outcomes["c"] = Outcome("failed", None, 1)
    assert sweep.code == 1
    assert sweep.describe().endswith("Repeat the command to run the unfinished runs.")


@pytest.mark.parametrize(
    ("environment", "words", "code"),
    [
        ({}, ["trainer.devices=2"], 2),
        ({"SLURM_NTASKS": "2"}, ["trainer.devices=2"], 2),  # in a batch script, which has started nothing
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "0"}, ["trainer.devices=2"], 0),
        ({"SLURM_NTASKS": "16", "SLURM_STEP_ID": "0"}, ["trainer.devices=8", "trainer.num_nodes=2"], 2),
        ({"SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_ID": "0"}, ["trainer.devices=8", "trainer.num_nodes=2"], 0),
        ({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}, ["trainer.devices=2"], 0),
    ],
)
def test_several_devices_in_a_sweep_want_processes_that_something_else_has_started(
    start: Any, environment: dict[str, str], words: list[str], code: int
) -> None:
    told = start("seed=1,2", *words, code=code, **environment).stderr
    assert told.count("hydra/launcher=submitit_slurm hydra.launcher.nodes=NODES") == (2 if code else 0)


def test_a_scheduler_that_starts_the_same_command_again_finds_its_run(tmp_path: Path) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    command = [sys.executable, str(script), "model=tiny", "trainer.max_steps=400", "hydra.run.dir=run"]
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


def test_submitit_starts_a_run_that_was_preempted_again_and_it_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    command = [sys.executable, str(script), "-m", "model=tiny", "trainer.max_steps=100", "seed=1", "hydra.sweep.dir=sweep",
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


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_real_runs_are_made_elsewhere_and_not_made_again(corpus: Path, tmp_path: Path, launcher: str) -> None:
    words = [*SMALL, f"data.root='{corpus}'", "trainer.max_steps=2", "trainer.val_every_steps=2", "seed=1,2"]
    command = [sys.executable, "-m", "khasr.train", "-m", *words, *LAUNCHERS[launcher], "hydra.sweep.dir=sweep"]
    for before in ("2 completed\n", "2 of them had finished before"):
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert before in done.stdout
    outcomes = [read_outcome(folder) for folder in tmp_path.glob("sweep/seed-*")]
    assert [outcome.status for outcome in outcomes if outcome] == ["completed"] * 2
