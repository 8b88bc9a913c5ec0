import os
import shutil
from pathlib import Path

import pytest

from khasr.inference.audio_files import find_audio

FOLDERS = ["a/rec_001.flac", "b/rec_001.flac", "b/deep/rec_002.WAV"]


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("names", "outputs"),
    [
        (["."], ["a/rec_001.flac", "b/deep/rec_002.WAV", "b/rec_001.flac"]),
        (["a"], ["rec_001.flac"]),
        (["a", "b"], ["a/rec_001.flac", "b/deep/rec_002.WAV", "b/rec_001.flac"]),
        (["a/rec_001.flac", "b/rec_001.flac"], ["a/rec_001.flac", "b/rec_001.flac"]),
        (["b/../a/rec_001.flac", "b/rec_001.flac"], ["a/rec_001.flac", "b/rec_001.flac"]),
        (["b/deep", "a/rec_001.flac"], ["rec_002.WAV", "rec_001.flac"]),
        (["a/rec_001.flac", "./a/../a/rec_001.flac", "a"], ["rec_001.flac"]),
        (["-", "a"], ["stdin", "rec_001.flac"]),
    ],
)
def test_outputs(names: list[str], outputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs keep the paths below a named folder, and no two recordings have the same."""
    write(tmp_path, *FOLDERS)
    monkeypatch.chdir(tmp_path)
    assert [str(output) for output in find_audio(names).outputs] == outputs


@pytest.mark.parametrize("ffmpeg", [True, False])
def test_left_out(ffmpeg: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio that cannot be decoded is named with the reason; files of macOS are ignored; other files are counted."""
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/ffmpeg" if ffmpeg else None)
    names = [
        "talk.flac",
        "._talk.flac",
        ".DS_Store",
        "other.m4a",
        "film.webm",
        "old.ra",
        "old.voc",
        "notes.txt",
        "LICENSE",
    ]
    write(tmp_path, *names)
    found = find_audio([str(tmp_path)])
    assert [Path(p).name for p in found.paths] == (["film.webm", "other.m4a"] if ffmpeg else []) + ["talk.flac"]
    assert [(Path(p).name, reason.split(" files")[0]) for p, reason in found.left_out] == (
        ([] if ffmpeg else [("film.webm", ".webm")])
        + [("old.ra", ".ra"), ("old.voc", ".voc")]
        + ([] if ffmpeg else [("other.m4a", ".m4a")])
    )
    assert dict(found.other) == {".txt": 1, "without ending": 1}


def test_links(tmp_path: Path) -> None:
    """A broken link to a recording fails when it is decoded; a link to a folder, which may be a loop, is named."""
    write(tmp_path, "a.wav")
    (tmp_path / "broken.wav").symlink_to("absent.wav")
    (tmp_path / "loop").symlink_to(".")
    found = find_audio([str(tmp_path)])
    assert [str(output) for output in found.outputs] == ["a.wav", "broken.wav"]
    assert found.left_out == [
        (f"{tmp_path}/loop", "links to folders are not followed; name the folder itself"),
    ]


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.wav", "deep/b.wav")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_audio([str(tmp_path)])
    assert [str(output) for output in found.outputs] == ["a.wav"]
    assert found.left_out == [(f"{tmp_path}/deep", "the folder cannot be read (Permission denied)")]


def test_no_audio(tmp_path: Path) -> None:
    write(tmp_path, "._talk.flac", "notes.txt")
    with pytest.raises(FileNotFoundError, match="contains no audio files"):
        find_audio([str(tmp_path)])
