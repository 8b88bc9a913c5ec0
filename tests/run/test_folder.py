"""The files of a run's folder: read, written and refused."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from khasr.config import DecoderConfig
from khasr.run.folder import RunFolder, read_metrics


def test_decoder_round_trip(tmp_path: Path) -> None:
    folder, options = RunFolder(tmp_path), DecoderConfig(name="beam_lm", lm="lm", alpha=0.7)
    assert folder.read_decoder() is None
    folder.write_decoder(options)
    assert folder.read_decoder() == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping is expected"),
        ("- 1\n", "a mapping is expected"),
        ("alpha: [", "parsing"),
        ("alhpa: 0.5\n", "alhpa"),
        ("alpha: high\n", "alpha"),
        ("lm: ${oc.env:HOME}\n", "decoder.yaml"),
    ],
)
def test_damaged_decoder(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file, the cause and the command that writes the file again."""
    folder = RunFolder(tmp_path)
    folder.decoder.write_text(text)
    with pytest.raises(ValueError, match=r"decoder\.yaml") as caught:
        folder.read_decoder()
    assert message in str(caught.value)
    assert "khasr.tune" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_decoder_of_older_version(tmp_path: Path) -> None:
    """Options that are missing have their defaults."""
    old = {key: value for key, value in asdict(DecoderConfig(alpha=0.9)).items() if key != "backend"}
    RunFolder(tmp_path).decoder.write_text(yaml.safe_dump(old))
    assert RunFolder(tmp_path).read_decoder() == DecoderConfig(alpha=0.9)


def test_metrics_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss\n1,2.5\n2,\n3,2.\nx,1\n4,1e")
    assert [row["step"] for row in read_metrics(path)] == ["1", "2", "3"]
