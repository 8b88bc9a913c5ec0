"""Runs whose files are missing, cut or edited: they start again, or are refused in one paragraph."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from khasr.inference.recogniser import load_recogniser
from khasr.run.folder import RunFolder
from khasr.training.checkpoint_files import WholeFileIO
from khasr.training.fit import fit
from tests.small_runs import Small, read_results


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    """A copy of a completed run."""
    return RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def set_results(run: RunFolder, **changes: object) -> None:
    run.results.write_text(json.dumps(run.read_results() | changes), encoding="utf-8")


def test_killed_at_first_validation(run: RunFolder, small: Small) -> None:
    """best.ckpt without last.ckpt: the same command starts again; resume= is refused with this advice."""
    run.last.unlink()
    set_results(run, status="interrupted", val=None, test=None, train=None)
    config = small()
    config.resume = str(run.path)
    with pytest.raises(FileNotFoundError, match=r"contains best\.ckpt.*same command and without resume="):
        fit(config, run)
    assert fit(small("trainer.max_steps=3"), run)["train"]["steps"] == 3
    assert torch.load(run.best, weights_only=True)["global_step"] == 3


def test_full_disk_at_first_validation(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither checkpoint is left, and the same command starts again."""
    folder, save = RunFolder(tmp_path), WholeFileIO.save_checkpoint

    def full(self: WholeFileIO, checkpoint: dict[str, Any], path: Path, storage_options: Any = None) -> None:
        if "last" in Path(path).name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(self, checkpoint, path, storage_options)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(WholeFileIO, "save_checkpoint", full)
        fit(small(), folder)
    assert [path.name for path in folder.checkpoints.iterdir()] == ["start.ckpt"]
    assert read_results(tmp_path)["status"] == "failed"
    assert fit(small("trainer.max_steps=3"), folder)["status"] == "completed"


@pytest.mark.parametrize("results", [True, False], ids=["scored", "no results.json"])
def test_weights_without_last_checkpoint(run: RunFolder, small: Small, results: bool) -> None:
    """The weights of a run whose last.ckpt was deleted are not overwritten."""
    run.last.unlink()
    if not results:
        run.results.unlink()
    before = run.best.read_bytes()
    with pytest.raises(ValueError, match=r"already contains the weights of a run.*hydra\.run\.dir"):
        fit(small(), run)
    assert run.best.read_bytes() == before


@pytest.mark.parametrize("text", ["", '{"status": "compl', "[]"], ids=["empty", "cut", "edited"])
def test_resume_writes_results_again(
    run: RunFolder, small: Small, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    run.results.write_text(text)
    config = small("trainer.max_steps=9")
    config.resume = str(run.path)
    assert fit(config, run)["train"]["steps"] == 9
    assert "does not hold the results of a run" in capsys.readouterr().err
    assert read_results(run.path)["status"] == "completed"


def spoil(value: float) -> Callable[[dict[str, Any]], object]:
    return lambda checkpoint: checkpoint["state_dict"]["model.head.weight"][0].fill_(value)


def retype(dtype: torch.dtype) -> Callable[[dict[str, Any]], object]:
    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"]["model.head.weight"] = checkpoint["state_dict"]["model.head.weight"].to(dtype)

    return change


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "nan": (spoil(float("nan")), r"model\.head\.weight contains values that are not finite"),
    "infinite": (spoil(float("inf")), r"model\.head\.weight contains values that are not finite"),
    "int8": (retype(torch.int8), r"model\.head\.weight is torch\.int8; expected torch\.float32"),
    "float64": (retype(torch.float64), r"model\.head\.weight is torch\.float64"),
    "no weights": (lambda c: c.pop("state_dict"), r"(is not a checkpoint of khasr|has no state_dict)"),
    "no head": (lambda c: c["state_dict"].pop("model.head.weight"), "weights do not match its description"),
    "no symbols": (lambda c: c["khasr"].pop("symbols"), "weights do not match its description"),
    "other shape": (
        lambda c: c["state_dict"].update({"model.head.weight": torch.zeros(3, 32)}),
        "weights do not match its description",
    ),
    "unknown encoder": (lambda c: c["khasr"]["encoder"].update(model_type="x"), "weights do not match its description"),
}
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "text": lambda _: b"version https://git-lfs.github.com/spec/v1\n",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", [*EDITS, *BYTES])
@pytest.mark.parametrize("file", ["best", "last"])
def test_damaged_checkpoint(run: RunFolder, small: Small, file: str, damage: str) -> None:
    """Evaluating reads best.ckpt, resuming last.ckpt; the message names the file and the damage."""
    path = run.best if file == "best" else run.last
    if damage in EDITS:
        change, message = EDITS[damage]
        edit(path, change)
    else:
        path.write_bytes(BYTES[damage](path.read_bytes()))
        message = "is not a complete checkpoint"
    config = small("trainer.max_steps=9")
    config.resume = str(run.path)
    with pytest.raises(ValueError, match=rf"{file}\.ckpt.*{message}") as caught:
        if file == "best":
            load_recogniser(str(run.path))
        else:
            fit(config, run)
    assert "\n" not in str(caught.value)


def test_resume_from_best(run: RunFolder, small: Small) -> None:
    """best.ckpt under the name of last.ckpt has no optimizer states."""
    shutil.copy(run.best, run.last)
    config = small("trainer.max_steps=9")
    config.resume = str(run.path)
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be resumed: it has no optimizer_states"):
        fit(config, run)
