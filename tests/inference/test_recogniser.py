from pathlib import Path

import pytest

from khasr.inference.recogniser import load_recogniser


def test_missing_run(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=f"run={absent} does not exist"):
        load_recogniser(absent)
    with pytest.raises(FileNotFoundError, match=r"contains neither checkpoints/best\.ckpt .* nor config\.json"):
        load_recogniser(str(tmp_path))
