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
        ("\x00", "special characters"),
        ("alpha: .nan\n", "alpha=nan: expected a number"),
        ("beam_width: 1000000000\n", "beam_width=1000000000: expected a number"),
        ("a: &a [1]\nb: [*a, *a]\n", "aliases"),
        ("alpha: 0.5" + " " * 1_000_001, "bytes"),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping is expected"),
        ("data: 3\nresume: null\n", "config.yaml"),
        ("data:\n  name: fol", "incomplete"),
        ("optimizer:\n  lr: high\nresume: null\n", "optimizer.lr"),
        ("no_such_option: 1\nresume: null\n", "no_such_option"),
        ("a: &a [1]\nb: [*a, *a]\n", "aliases"),
    ],
)
def test_damaged_config(tmp_path: Path, text: str, message: str) -> None:
    folder = RunFolder(tmp_path)
    folder.config.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml does not hold the options of a run") as caught:
        folder.read_config()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"status": "compl',
        "[]",
        "null",
        "{}",
        '{"status": 1}',
        '{"status": "completed", "val": 3}',
        "[" * 100_000,
    ],
)
def test_damaged_results(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.results.write_text(text)
    with pytest.raises(ValueError, match=r"results\.json does not hold the results of a run.*resume=") as caught:
        folder.read_results()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pending", "best", "last"),
    [
        ({}, "old", "old"),
        ({"best"}, "old", "old"),
        ({"best", "last"}, "new", "new"),
        ({"last"}, "new", "new"),
    ],
    ids=["whole", "killed before last", "killed before the renames", "killed between the renames"],
)
def test_recover_checkpoints(tmp_path: Path, pending: set[str], best: str, last: str) -> None:
    """Whenever the process is killed, best.ckpt and last.ckpt are of the same validation after recovery."""
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    for name, path in {"best": folder.best, "last": folder.last}.items():
        path.write_text("new" if name == "best" and pending == {"last"} else "old")
        if name in pending:
            folder.pending(path).write_text("new")
    folder.recover_checkpoints()
    assert (folder.best.read_text(), folder.last.read_text()) == (best, last)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_damaged_metrics(tmp_path: Path) -> None:
    """Rows with bytes that are not UTF-8 are left out, the others are read."""
    (tmp_path / "metrics.csv").write_bytes(b"step,val/wer\n1,0.5\n2,0.\xff\n\xfe3,0.3\n4,0.2\n")
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == ["1", "4"]
