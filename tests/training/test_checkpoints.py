"""Checkpoints are written completely or not at all, even if the writing process is killed."""

import errno
import io
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from khasr.training import checkpoint_files
from khasr.training.checkpoint_files import CheckpointFiles, WholeFileIO
from tests.commands import Commands

# The parent imports torch once. Each child writes checkpoints in a loop, each filled with a single number, and is killed
# at a random moment. A file with two different numbers, or one that does not load, is incomplete.
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from khasr.training.checkpoint_files import CheckpointFiles

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
path = folder / "last.ckpt"
random.seed(0)
torch.set_num_threads(1)

def write_for_ever():
    weights = [torch.empty(200_000) for _ in range(20)]
    number = 0
    files = CheckpointFiles(in_background=kill % 2 == 0)
    while True:
        number += 1
        for tensor in weights:
            tensor.fill_(number)
        files.save_checkpoint({"state_dict": {str(i): t for i, t in enumerate(weights)}, "step": number}, path)

midway = 0
for kill in range(kills):
    path.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        write_for_ever()
    while not path.is_file():
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    midway += path.with_name("last.ckpt.partial").is_file()
    loaded = torch.load(path, weights_only=True)
    found = {float(v) for tensor in loaded["state_dict"].values() for v in (tensor.min(), tensor.max())}
    assert found == {float(loaded["step"])}, (kill, found)
print(f"{kills} kills, {midway} while a file was being written, {kills} whole checkpoints")
"""


def test_kill_while_writing(command: Commands, tmp_path: Path) -> None:
    """Half of the processes write in a thread, while the weights change."""
    done = subprocess.run(
        [command.python, "-c", KILLS, str(tmp_path), "20"],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "20 whole checkpoints" in done.stdout
    midway = int(done.stdout.split(", ")[1].split()[0])
    assert midway >= 5, f"most of the time goes to writing, and so should most kills: {done.stdout}"
    print(done.stdout)


def test_leftover_partial_file(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt.partial").write_bytes(b"half")
    WholeFileIO().save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"step": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_load_memory_mapped(tmp_path: Path) -> None:
    """Resuming a 1B reads a file of 11 GB beside a model of 4 GB; the file is mapped, not copied."""
    path = tmp_path / "last.ckpt"
    WholeFileIO().save_checkpoint({"state_dict": {"weight": torch.zeros(300_000)}}, path)
    loaded = WholeFileIO().load_checkpoint(path)
    maps = Path("/proc/self/maps")
    assert not maps.is_file() or str(path) in maps.read_text()
    assert loaded["state_dict"]["weight"].shape == (300_000,)


def test_failed_write_keeps_previous(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)

    class Unwritable:
        def __reduce__(self) -> Any:
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        WholeFileIO().save_checkpoint({"weights": torch.zeros(10_000), "broken": Unwritable()}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_full_disk_keeps_previous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an OSError that names the file."""
    path = tmp_path / "last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)

    class FullDisk(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 10_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda *_: FullDisk())
    with pytest.raises(OSError, match=r"No space left on device.*last\.ckpt") as caught:
        WholeFileIO().save_checkpoint({"weights": torch.zeros(100_000)}, path)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert torch.load(path, weights_only=True) == {"step": 1}


class Held:
    """Writing waits until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.released = threading.Event()
        self.written: list[str] = []
        write = WholeFileIO.save_checkpoint

        def held(files: WholeFileIO, checkpoint: dict[str, Any], path: Path, storage_options: Any = None) -> None:
            assert self.released.wait(60)
            write(files, checkpoint, path, storage_options)
            self.written.append(path.name)

        monkeypatch.setattr(WholeFileIO, "save_checkpoint", held)


def test_in_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving returns before the file is written, which has the values of that moment; actions keep their place."""
    held, files = Held(monkeypatch), CheckpointFiles(in_background=True)
    weights = torch.zeros(1000)
    for step, name in enumerate(("best.ckpt", "last.ckpt")):
        files.save_checkpoint({"weights": {"a": [weights]}, "step": step}, tmp_path / name)
        weights += 1  # the next optimizer step
    files.then(lambda: held.written.append("renamed"))
    assert files.busy
    assert held.written == []
    held.released.set()
    files.wait()
    assert not files.busy
    assert held.written == ["best.ckpt", "last.ckpt", "renamed"]
    for step, name in enumerate(held.written[:2]):
        found = torch.load(tmp_path / name, weights_only=True)
        assert (float(found["weights"]["a"][0].max()), found["step"]) == (step, step)


def test_error_in_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is reported by the next one who waits; what was to be written after it is not."""
    files = CheckpointFiles(in_background=True)
    done: list[str] = []

    def full(self: WholeFileIO, checkpoint: dict[str, Any], path: Path, storage_options: Any = None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    files.wait()
    monkeypatch.setattr(WholeFileIO, "save_checkpoint", full)
    files.save_checkpoint({"step": 1}, tmp_path / "best.ckpt.pending")
    files.then(lambda: done.append("renamed"))
    files.join()
    with pytest.raises(OSError, match=r"No space left on device.*best\.ckpt"):
        files.wait()
    assert done == []


def test_copy_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written at once, if a copy would take more than half of the memory."""
    monkeypatch.setattr(checkpoint_files, "available_memory_gib", lambda: 2 * 4000 / 2**30)
    files = CheckpointFiles(in_background=True)
    for weights, at_once in ((1001, True), (1000, False)):
        files.save_checkpoint({"weights": torch.zeros(weights)}, tmp_path / "last.ckpt")
        assert (files._latest is None) == at_once
    files.wait()
