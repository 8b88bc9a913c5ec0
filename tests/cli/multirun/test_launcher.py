"""Sweeps with each launcher: failures, resuming, budgets, summaries."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from khasr.cli.multirun.launcher import ResumingLauncher
from khasr.cli.multirun.sweep import Sweep, folder_name
from khasr.run.outcome import Outcome, read_outcome
from tests.cli.multirun.conftest import LAUNCHERS, runs
from tests.commands import Commands
from tests.conftest import SMALL


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_failed_run(start: Any, tmp_path: Path, launcher: str) -> None:
    """A failed run is recorded, the others continue, and a second start runs only what is missing."""
    whole = launcher != "basic"
    printed = start("optimizer.lr=0.1,0.2,-1", "seed=1", *LAUNCHERS[launcher], code=2, whole=whole).stdout
    assert runs(tmp_path) == {0.1: ("completed", 1), 0.2: ("completed", 1), -1.0: ("failed", 0)}
    assert "3 runs in sweep: 2 completed, 1 failed" in printed
    assert "Lowest WER on val: 10.00%" in printed
    printed = start("optimizer.lr=0.1,0.2,0.3", "seed=1", *LAUNCHERS[launcher]).stdout
    assert runs(tmp_path) == {0.1: ("completed", 1), 0.2: ("completed", 1), 0.3: ("completed", 1), -1.0: ("failed", 0)}
    assert "3 runs in sweep: 3 completed; 2 of them had finished before" in printed


def test_diverged_run(start: Any, tmp_path: Path) -> None:
    """A run that raises or diverges gives exit code 1; only the one that raised is tried again."""
    words = ["seed=13,7,1", "optimizer.lr=0.1"]
    printed = start(*words, code=1)
    assert "unlucky" in printed.stderr
    again = start(*words, code=1)
    starts = {
        yaml.safe_load((f / "config.yaml").read_text())["seed"]: (f / "starts").read_text().count("\n")
        for f in (tmp_path / "sweep").iterdir()
        if f.is_dir()
    }
    assert starts == {13: 2, 7: 1, 1: 1}
    assert "2 of them had finished before" in again.stdout


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_budget(start: Any, tmp_path: Path, launcher: str) -> None:
    """At the end of the budget running jobs are saved; the same command resumes them."""
    words = ["optimizer.lr=0.1,0.2", "trainer.max_steps=5", *LAUNCHERS[launcher]]
    printed = start(*words, code=142, BUDGET_ENDS_AT="3").stdout
    begun = runs(tmp_path)
    # In sequence, the second run does not begin; with the other launchers both run when the budget ends.
    assert begun == dict.fromkeys([0.1] if launcher == "basic" else [0.1, 0.2], ("interrupted", 1))
    assert {path.read_text() for path in tmp_path.glob("sweep/*/checkpoints/last.ckpt")} == {"3"}
    assert len(list(tmp_path.glob("sweep/lr-*"))) == len(begun)
    assert "Repeat the command to run the unfinished runs" in printed
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
def test_spent_budget(start: Any, tmp_path: Path, spent: str, launcher: str) -> None:
    """No run begins once the budget is spent."""
    printed = start("optimizer.lr=0.1,0.2,0.3", spent, *LAUNCHERS[launcher], code=142).stdout
    assert "3 runs in sweep: 3 not begun" in printed
    assert not list(tmp_path.glob("sweep/lr-*"))


def test_subdir(start: Any, tmp_path: Path) -> None:
    """hydra.sweep.subdir is refused."""
    printed = start("seed=1,2", "hydra.sweep.subdir='s${seed}'", code=2).stderr
    assert "hydra.sweep.subdir=s${seed}: khasr names the folders" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_invalid_options(start: Any, launcher: str) -> None:
    """A run whose options are invalid is a failed run."""
    printed = start("+optimizer.foo=1", "seed=1,2", *LAUNCHERS[launcher], code=2)
    assert "2 runs in sweep: 2 failed" in printed.stdout
    assert "AttributeError" not in printed.stderr
    assert "foo" in printed.stderr


def test_resume(start: Any, tmp_path: Path) -> None:
    """-m with resume= is refused."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    assert "-m with resume=run: a sweep starts new runs" in start("resume=run", "seed=1,2", code=2).stderr


def test_late_interpolation(start: Any) -> None:
    """A setting of Hydra may refer to values that exist only within a job."""
    printed = start("seed=1", "hydra.job.name='job${hydra.job.num}'").stdout
    assert "1 run in sweep: 1 completed" in printed


def test_lost_process(tmp_path: Path) -> None:
    """After a lost process, runs that never began are reported as such."""
    from concurrent.futures.process import BrokenProcessPool

    class Lost:
        def launch(self, overrides: Any, initial_job_idx: int) -> None:
            (tmp_path / "a").mkdir()
            raise self.error

    lost = Lost()
    launcher = ResumingLauncher.__new__(ResumingLauncher)
    launcher._launcher, launcher._sweep = lost, Sweep(tmp_path)  # type: ignore[assignment]
    launcher._config = OmegaConf.create({"hydra": {"runtime": {"choices": {"hydra/launcher": "joblib"}}}})
    lost.error = BrokenProcessPool("gone")  # type: ignore[attr-defined]
    found = launcher._launch({"a": [], "b": []}, 0)
    assert [outcome.status for outcome in found] == ["failed", "not begun"]


def test_lock(start: Any, tmp_path: Path) -> None:
    """A second start while the sweep runs is refused."""
    from filelock import FileLock

    (tmp_path / "sweep").mkdir()
    with FileLock(tmp_path / "sweep" / ".lock"):
        printed = start("seed=1,2", code=2).stderr
    assert "sweep contains a running sweep" in printed
    assert "Traceback" not in printed


def test_folder_name(tmp_path: Path) -> None:
    """A folder is named by the overrides that vary and a hash of all."""
    common = ["data.root='/a (b)/c'", "optimizer.lr=1e-5,3e-5", "sweep.max_hours=3"]
    one = folder_name(["data.root=/a (b)/c", "optimizer.lr=3e-5"], common)
    assert one.startswith("lr-3e-5_")
    assert one == folder_name(["optimizer.lr=3e-5", "data.root=/a (b)/c", "sweep.max_hours=1", "logger=wandb"], common)
    assert one != folder_name(["data.root=/b", "optimizer.lr=3e-5"], ["data.root=/b"])
    long = folder_name([f"model.architecture.conv_dim={list(range(200))}"], [])
    assert len(long) < 100
    assert all(c.isalnum() or c in "._-" for c in long)


def test_describe() -> None:
    """The summary of a sweep counts its runs by status."""
    sweep = Sweep(Path("runs/lr"), {"a": Outcome("completed", 0.5, 0), "b": Outcome("completed", 0.25, 0)}, {"a"})
    assert sweep.code == 0
    assert sweep.describe().splitlines()[-3:] == [
        "2 runs in runs/lr: 2 completed; 1 of them had finished before",
        "Lowest WER on val: 25.00%, b",
        "Compare the runs: python -m khasr.report runs/lr",
    ]
    sweep.outcomes["c"] = Outcome("failed", None, 1)
    assert sweep.code == 1
    assert sweep.describe().endswith("Repeat the command to run the unfinished runs.")
    sweep.outcomes["c"] = Outcome("failed", None, 2)
    assert sweep.describe().endswith("1 run refused, with the reason above: repeating changes nothing.")


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_real_runs(corpus: Path, command: Commands, tmp_path: Path, launcher: str) -> None:
    """Real runs in processes of a launcher; a second start runs none."""
    words = [*SMALL, f"data.root='{corpus}'", "trainer.max_steps=2", "trainer.val_every_steps=2", "seed=1,2"]
    words = ["-m", *words, *LAUNCHERS[launcher], "hydra.sweep.dir=sweep"]
    first, second = (command("khasr.train", *words, cwd=tmp_path) for _ in range(2))
    for done, before in ((first, "2 completed\n"), (second, "2 of them had finished before")):
        assert done.returncode == 0, done.stdout + done.stderr
        assert before in done.stdout
    outcomes = [read_outcome(folder) for folder in tmp_path.glob("sweep/seed-*")]
    assert [outcome.status for outcome in outcomes if outcome] == ["completed"] * 2
