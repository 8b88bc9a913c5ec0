"""Runs that are stopped, killed or failed, and resumed: they equal uninterrupted ones."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from khasr.config import Config
from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted
from khasr.training import checkpoints
from khasr.training import trainer as trainer_module
from khasr.training.callbacks import TrainingMetrics
from khasr.training.checkpoint_files import WholeFileIO
from khasr.training.fit import fit
from khasr.training.module import CtcModule
from tests.commands import Commands
from tests.conftest import SMALL
from tests.small_runs import RANDOM, Small, read_results, read_rows, resumed, same, stop_after, tensors


@pytest.fixture(scope="module")
def whole(compose: Callable[..., Config], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    fit(compose(*SMALL, f"data.root='{corpus}'", *RANDOM), RunFolder(folder))
    return folder


@pytest.mark.parametrize(
    ("signum", "batches", "during_validation", "stops_at"),
    [
        (signal.SIGINT, 13, False, 7),
        (signal.SIGTERM, 13, False, 7),
        (signal.SIGTERM, 20, False, 10),
        (signal.SIGALRM, 13, False, 7),
        (signal.SIGTERM, 20, True, 10),
        (signal.SIGTERM, 1, False, 1),
    ],
    ids=[
        "mid accumulation, Ctrl-C",
        "mid accumulation",
        "where validation is due",
        "mid accumulation, a budget",
        "in validation",
        "the first batch",
    ],
)
def test_resumed_equals_uninterrupted(
    whole: Path, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    batches: int, during_validation: bool, stops_at: int, signum: int,
) -> None:  # fmt: skip
    before = signal.getsignal(signum)  # a shell's background job has SIGINT ignored
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=signal.Signals(signum).name):
        stop_after(patch, batches, signum, during_validation)
        fit(small(*RANDOM), RunFolder(tmp_path / "parts"))
    stopped = read_results(tmp_path / "parts")
    assert stopped["status"] == "interrupted"
    assert stopped["train"]["steps"] == stops_at
    assert signal.getsignal(signum) == before

    fit(resumed(small, tmp_path / "parts"), RunFolder(tmp_path / "parts"))
    parts = tmp_path / "parts"
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (
            torch.load(folder / "checkpoints" / name, weights_only=True, map_location="cpu")
            for folder in (parts, whole)
        )
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "window", "global_step"):
            same(ours.get(key), theirs.get(key), key)
    ours_rows, theirs_rows = read_rows(parts), read_rows(whole)
    assert len(ours_rows) == len(theirs_rows)
    for a, b in zip(ours_rows, theirs_rows, strict=True):
        for key in [key for key in a if key.startswith("time/") or key == "train/audio_seconds_per_second"]:
            a.pop(key)
            b.pop(key)
        assert a == b
    a, b = read_results(parts), read_results(whole)
    assert a["val"] == b["val"]
    assert a["train"]["audio_seconds"] == b["train"]["audio_seconds"]
    assert a["status"] == "completed"


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw_8bit"])
def test_resume_memory_saving_optimizers(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    # bitsandbytes keeps tensors of fewer than 4,096 weights in 32 bits.
    changes = [*RANDOM, f"optimizer={optimizer}", "model.architecture.intermediate_size=128"]
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    fit(small(*changes), whole)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_after(patch, 13, signal.SIGTERM)
        fit(small(*changes), parts)
    config = small(*changes)
    config.resume = str(parts.path)
    fit(config, parts)
    ours, theirs = (torch.load(f.last, weights_only=True) for f in (parts, whole))
    same(ours["state_dict"], theirs["state_dict"])
    same(ours["optimizer_states"], theirs["optimizer_states"])
    eight_bits = "torch.uint8" in str([v.dtype for v in tensors(theirs["optimizer_states"])])
    assert eight_bits == (optimizer == "adamw_8bit")


def test_resume_after_crash(whole: Path, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash after a checkpoint repeats no row, and ends with the same weights."""
    original = TrainingMetrics.on_train_batch_end

    def die(self: TrainingMetrics, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        original(self, trainer, module, outputs, batch, batch_idx)
        if batch_idx == 17:  # step 9; the last checkpoint is of step 5
            raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(TrainingMetrics, "on_train_batch_end", die)
        fit(small(*RANDOM), RunFolder(tmp_path / "parts"))
    assert read_results(tmp_path / "parts")["status"] == "failed"
    fit(resumed(small, tmp_path / "parts"), RunFolder(tmp_path / "parts"))
    folders = (tmp_path / "parts", whole)
    ours, theirs = (torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in folders)
    same(ours["state_dict"], theirs["state_dict"])
    steps = [[row["step"] for row in read_rows(folder)] for folder in folders]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("in_background", [False, True])
def test_saved_by_time(
    whole: Path, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_background: bool
) -> None:
    """Between validations last.ckpt is written whenever it is too old; a run that is killed resumes from there."""
    original = TrainingMetrics.on_train_batch_end
    saved: list[int] = []
    clock, write = {"seconds": 0.0}, WholeFileIO.save_checkpoint

    def written(self: WholeFileIO, checkpoint: dict[str, Any], path: Path, storage_options: Any = None) -> None:
        if "last" in Path(path).name:
            saved.append(checkpoint["global_step"])
        write(self, checkpoint, path, storage_options)

    def tick(self: TrainingMetrics, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        original(self, trainer, module, outputs, batch, batch_idx)
        trainer.strategy.checkpoint_io.join()
        clock["seconds"] += 15  # a step has two batches
        if batch_idx == 17:  # step 9; validations are at 5 and 10
            raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(checkpoints.time, "monotonic", lambda: clock["seconds"])
        patch.setattr(trainer_module, "uses_gpu", lambda options: in_background)
        patch.setattr(WholeFileIO, "save_checkpoint", written)
        patch.setattr(TrainingMetrics, "on_train_batch_end", tick)
        fit(small(*RANDOM, "trainer.save_every_minutes=1"), RunFolder(tmp_path / "parts"))
    assert saved == [2, 4, 5, 7]
    last = torch.load(tmp_path / "parts/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 7
    fit(resumed(small, tmp_path / "parts"), RunFolder(tmp_path / "parts"))
    folders = (tmp_path / "parts", whole)
    ours, theirs = (torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in folders)
    same(ours["state_dict"], theirs["state_dict"])
    assert read_results(folders[0])["val"] == read_results(whole)["val"]


def test_second_signal(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second signal stops the run without saving."""
    step = CtcModule.training_step

    def twice(self: CtcModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if batch_idx == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(CtcModule, "training_step", twice)
    with pytest.raises(Interrupted):
        fit(small(*RANDOM), RunFolder(tmp_path))
    assert not (tmp_path / "checkpoints/last.ckpt").exists()
    assert read_results(tmp_path)["status"] == "interrupted"


def test_failed_resume_changes_nothing(finished: Path, small: Small, tmp_path: Path) -> None:
    """Scores and config.yaml of a run stay when resuming it fails."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = read_results(folder), (folder / "config.yaml").read_text(encoding="utf-8")
    config = small("trainer.accelerator=gpu" if not torch.cuda.is_available() else "data.root=/absent")
    config.resume = str(folder)
    with pytest.raises((ValueError, FileNotFoundError)):
        fit(config, RunFolder(folder))
    after = read_results(folder)
    assert after["status"] == "failed"
    assert (after["val"], after["test"]) == (before[0]["val"], before[0]["test"])
    assert (folder / "config.yaml").read_text(encoding="utf-8") == before[1]


def test_resume_without_start_weights(
    finished: Path, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming does not read the weights that the run started from."""
    import shutil

    start = tmp_path / "start"
    shutil.copytree(finished, start)
    fit(small(f"model.checkpoint='{start}'", "trainer.max_steps=3"), RunFolder(tmp_path / "run"))
    shutil.rmtree(start)
    config = small(f"model.checkpoint='{start}'", "trainer.max_steps=6")
    config.resume = str(tmp_path / "run")
    assert fit(config, RunFolder(tmp_path / "run"))["train"]["steps"] == 6


def test_resume_without_checkpoint(small: Small, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt does not exist"):
        fit(resumed(small, tmp_path), RunFolder(tmp_path))


def test_kills_at_random_moments(command: Commands) -> None:
    """Killed at random moments with an average of weights and a frozen encoder, runs equal an uninterrupted one."""
    root = Path(__file__).resolve().parents[2]
    words = [command.python, "experiments/resume/kills.py", "3"]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills" in done.stdout
    assert "all equal" in done.stdout
