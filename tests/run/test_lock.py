"""The lock of a run's folder."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from khasr.config import Config
from khasr.run.folder import RunFolder
from khasr.run.lock import lock_run
from khasr.training.fit import fit

HOLDER = """
import sys, time
from pathlib import Path
from khasr.run.folder import RunFolder
from khasr.run.lock import lock_run

with lock_run(RunFolder(Path(sys.argv[1]))):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_second_process(tmp_path: Path) -> None:
    """A second process is refused while the first is alive, and not after it was killed."""
    folder = RunFolder(tmp_path / "run")
    root = Path(__file__).resolve().parents[2]
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path)], cwd=root, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with (
            pytest.raises(
                ValueError, match=r"in use: a running process trains, tunes, evaluates or exports this run"
            ) as caught,
            lock_run(folder),
        ):
            pass
        assert "\n" not in str(caught.value)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with lock_run(folder):
        assert folder.lock.is_file()
    assert not list(folder.path.iterdir())


def test_released_after_an_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(KeyError), lock_run(folder):
        raise KeyError
    with lock_run(folder):
        pass


def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be written to is used without a lock."""

    def refuse(self: FileLock) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with lock_run(RunFolder(tmp_path)):
        assert list(tmp_path.iterdir()) == []


def test_training_in_a_locked_folder(small: Callable[..., Config], tmp_path: Path) -> None:
    """Training is refused before it writes anything."""
    folder = RunFolder(tmp_path / "run")
    with lock_run(folder):
        with pytest.raises(ValueError, match="in use"):
            fit(small(), folder)
        assert [path.name for path in folder.path.iterdir()] == [folder.lock.name]
