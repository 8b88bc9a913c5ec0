import io
import json
import shutil
import stat
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from khasr.inference.transcription import transcribe
from tests.conftest import tones


def run(model: Path, *files: object, **options: Any) -> int:
    defaults: dict[str, Any] = {"format": "text", "out": None, "decoder": None, "lm": None, "n_best": 1}
    defaults |= {"chunk_seconds": 30.0, "stride_seconds": 5.0, "to_corpus": None, "min_confidence": 0.8}
    return transcribe(Namespace(run=str(model), files=[str(f) for f in files], **defaults | options))


def good(path: Path, text: str = "កខគង", seconds: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = tones(text)
    soundfile.write(path, samples if seconds is None else np.resize(samples, int(seconds * 16_000)), 16_000)
    return path


def cut(path: Path) -> None:
    good(path, seconds=3)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])


# A file in the folder: how it is made, whether it has a transcript, what is reported of it.
FILES: dict[str, tuple[Callable[[Path], object], bool, str]] = {
    "good.wav": (good, True, ""),
    "deep/good.wav": (good, True, ""),
    "cut.wav": (cut, True, "cut.wav: it is cut short"),
    "cut.ogg": (cut, True, "cut.ogg: it is cut short"),
    "empty.wav": (lambda p: p.write_bytes(b""), False, "empty.wav: it is empty"),
    "no_samples.wav": (lambda p: soundfile.write(p, np.zeros(0), 16_000), False, "no_samples.wav: it has no samples"),
    "page.mp3": (
        lambda p: p.write_text("<html>404</html>" * 50),
        False,
        "page.mp3: libsndfile does not recognise its format",
    ),
    "other.m4a": (lambda p: p.write_bytes(b"\0\0\0 ftypM4A "), False, "other.m4a: .m4a files are decoded with ffmpeg"),
    "._good.wav": (lambda p: p.write_bytes(b"\0\5\26\7"), False, ""),
    "notes.txt": (lambda p: p.write_text("x"), False, "Not audio by name, in the folders: 1 file (1 .txt)."),
    "a\x1b[31m\n.wav": (lambda p: p.write_bytes(b"x"), False, "a\\x1b[31m\\n.wav: "),
}


@pytest.mark.parametrize("name", [n for n in FILES if n != "good.wav"])
def test_folder(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is left out or incomplete is named, counted and in the exit code; the others are transcribed."""
    monkeypatch.setattr(shutil, "which", lambda program: None)
    make, written, message = FILES[name]
    good(tmp_path / "in" / "good.wav")
    (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
    make(tmp_path / "in" / name)
    failed = run(model, tmp_path / "in", out=tmp_path / "out")
    errors = capsys.readouterr().err
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.txt")}
    assert found == {"good.wav.txt", *([f"{name}.txt"] if written else [])}
    assert message in errors
    assert "\x1b" not in errors
    wrong = bool(message) and name != "notes.txt"
    assert failed == wrong
    assert ("1 of 2 files." in errors) == wrong


def test_only_left_out(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    (tmp_path / "talk.m4a").write_bytes(b"x")
    assert run(model, tmp_path) == 1


def test_ffmpeg(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ffmpeg on the PATH, what libsndfile does not read is decoded by it."""
    soundfile.write(tmp_path / "whole.au", tones("កខគង"), 16_000, subtype="FLOAT")
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat '{tmp_path}/whole.au'\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "talk.m4a").write_bytes(b"\0\0\0 ftypM4A " + bytes(100))
    good(tmp_path / "wav" / "talk.wav")
    assert run(model, tmp_path / "in", out=tmp_path / "out") == 0
    assert run(model, tmp_path / "wav", out=tmp_path / "out") == 0
    ours = (tmp_path / "out" / "talk.m4a.txt").read_text(encoding="utf-8")
    assert ours == (tmp_path / "out" / "talk.wav.txt").read_text(encoding="utf-8")


def test_standard_input(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard input gives the transcript of the file, in each format."""
    file = good(tmp_path / "a.flac", seconds=40)
    for format_ in ("text", "json", "srt"):
        monkeypatch.setattr(sys, "stdin", Namespace(buffer=io.BytesIO(file.read_bytes())))
        assert run(model, "-", format=format_) == 0
        piped = capsys.readouterr().out
        assert run(model, file, format=format_) == 0
        assert piped.replace('"file": "-"', f'"file": "{file}"') == capsys.readouterr().out
    found = json.loads(piped) if format_ == "json" else None
    assert found is None or found["words"][-1]["end"] <= 40


def test_missing_file(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, tmp_path / "absent.wav") == 1
    assert "absent.wav: it does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_seconds": 4.0, "stride_seconds": 2.0}, "leaves no output"),
        ({"chunk_seconds": float("inf")}, "chunk_seconds=inf with .* expected finite numbers"),
        ({"chunk_seconds": float("nan")}, "chunk_seconds=nan with .* expected finite numbers"),
        ({"stride_seconds": -1.0}, "stride_seconds=-1: expected finite numbers of seconds that are not negative"),
        ({"n_best": 0}, "--n-best 0: expected a number from 1 to 1,000"),
        ({"n_best": 10**9}, "--n-best 1000000000: expected"),
    ],
)
def test_wrong_option(options: dict[str, Any], message: str, model: Path, tmp_path: Path) -> None:
    """A mistake in the options is not taken for a fault of the file."""
    with pytest.raises(ValueError, match=message):
        run(model, good(tmp_path / "a.wav"), **options)


def test_long_name(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no file can have is a fault of that file only."""
    assert run(model, "x" * 5000, good(tmp_path / "a.wav")) == 1
    printed = capsys.readouterr()
    assert "File name too long" in printed.err
    assert str(tmp_path / "a.wav") in printed.out
