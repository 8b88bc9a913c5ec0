"""The audio files that names on a command line mean, what is left out of folders, and names for the outputs."""

import mimetypes
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from khasr.data.containers import FORMATS
from khasr.data.ffmpeg import FFMPEG_ENDINGS

STDIN = "-"

_ENDINGS = {
    ".wav", ".wave", ".wavex", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aiff", ".aif",
    ".aifc", ".au", ".snd", ".caf", ".sph", ".nist",
}  # fmt: skip

# Formats that libsndfile reads and khasr refuses, because cut files of them are not detected.
_REFUSED_ENDINGS = {f".{name.lower()}" for name in soundfile.available_formats()} - _ENDINGS

# Files of operating systems: resource forks of macOS (`._NAME`) and folder settings.
_SYSTEM_FILES = {".ds_store", "thumbs.db", "desktop.ini"}


@dataclass
class AudioFiles:
    """Audio files in the order of the command line, those of a folder sorted.

    Attributes:
        paths: each file, as named or found; "-" is standard input.
        outputs: for each file, its path relative to the folder of the outputs, without an ending of the format.
        left_out: files that may be audio and cannot be decoded, with the reason.
        other: number of files that are not audio, by ending.
    """

    paths: list[str] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)


def find_audio(names: Sequence[str]) -> AudioFiles:
    """The named files, and the audio files in the named folders; a file that is named twice counts once.

    Raises:
        FileNotFoundError: a folder without audio files.
    """
    found = AudioFiles()
    outputs: dict[str, Path] = {}
    for name in names:
        path = Path(name).expanduser()
        if name == STDIN or not _is_folder(path):
            outputs.setdefault(name if name == STDIN else str(path), Path("stdin" if name == STDIN else path.name))
            continue
        files = {file: _sort_in(found, file) for file in _files(path, found)}
        if not found.left_out and "audio" not in files.values():
            raise FileNotFoundError(
                f"{path} contains no audio files. Expected {FORMATS}; with ffmpeg installed also m4a, aac, mp4 or webm."
            )
        for file, kind in files.items():
            if kind == "audio":
                outputs.setdefault(str(file), file.relative_to(path))
    outputs = _distinct(outputs)
    found.paths, found.outputs = list(outputs), list(outputs.values())
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long; opening the file gives the reason
        return False


def _files(folder: Path, found: AudioFiles) -> list[Path]:
    """The files below a folder, sorted; folders that are not searched are noted in `found`."""

    def unreadable(error: OSError) -> None:
        found.left_out.append((str(error.filename), f"the folder cannot be read ({error.strerror})"))

    files = []
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        files += [Path(parent, name) for name in names]
        for link in (path for path in (Path(parent, name) for name in folders) if path.is_symlink()):
            found.left_out.append((str(link), "links to folders are not followed; name the folder itself"))
    return sorted(files)


def _sort_in(found: AudioFiles, file: Path) -> str:
    """The kind of a file in a folder by its name; what is not audio that can be decoded is noted in `found`."""
    ending = file.suffix.lower()
    if file.name.startswith("._") or file.name.lower() in _SYSTEM_FILES:
        return "system"
    if ending in _ENDINGS or (ending in FFMPEG_ENDINGS and shutil.which("ffmpeg") is not None):
        return "audio"
    if ending in FFMPEG_ENDINGS:
        found.left_out.append((str(file), f"{ending} files are decoded with ffmpeg, which is not on PATH"))
        return "left out"
    if ending in _REFUSED_ENDINGS or (mimetypes.guess_type(file.name)[0] or "").startswith(("audio/", "video/")):
        found.left_out.append((str(file), f"{ending} files are not accepted; convert it to wav, flac, ogg or mp3"))
        return "left out"
    found.other[ending or "without ending"] += 1
    return "other"


def _distinct(outputs: dict[str, Path]) -> dict[str, Path]:
    """The output of each file; relative to their common folder if two files would have the same output."""
    # Not resolved: links to one recording are two recordings with two names.
    whole = {path: Path(os.path.abspath(path)) for path in outputs if path != STDIN}  # noqa: PTH100
    first = {file: path for path, file in reversed(whole.items())}
    kept = {path: output for path, output in outputs.items() if path == STDIN or first[whole[path]] == path}
    if len(set(kept.values())) == len(kept):
        return kept
    common = os.path.commonpath([file.parent for file in whole.values()])
    return {path: whole[path].relative_to(common) if path in whole else Path("-", output)
            for path, output in kept.items()}  # fmt: skip
