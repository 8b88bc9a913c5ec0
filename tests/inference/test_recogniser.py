import shutil
from pathlib import Path

import pytest

from khasr.inference.recogniser import load_recogniser
from khasr.run.folder import RunFolder


def test_missing_run(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=f"run={absent} does not exist"):
        load_recogniser(absent)
    with pytest.raises(FileNotFoundError, match=r"contains neither checkpoints/best\.ckpt .* nor config\.json"):
        load_recogniser(str(tmp_path))


def test_without_best_checkpoint(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last checkpoint is used in place of a missing best one, with a note."""
    run = RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))
    load_recogniser(str(run.path))
    assert capsys.readouterr().err == ""
    run.best.unlink()
    load_recogniser(str(run.path))
    assert capsys.readouterr().err == f"Note: {run.best} does not exist; last.ckpt is used.\n"
