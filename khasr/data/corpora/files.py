"""TODO."""

import hashlib
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from khasr.config import DataConfig

Audio = tuple[NDArray[np.float32], int]


# Nothing that is longer is an utterance, and an hour at 96 kHz would take a gigabyte.
_LONGEST = 20 * 60


def decode_audio(file: Path | BinaryIO) -> Audio:
    """The audio of a file in any format that libsndfile reads.

    Raises:
        soundfile.LibsndfileError: it is not audio.
        ValueError: it is cut short, empty, or longer than 20 minutes.
    """
    with soundfile.SoundFile(file) as audio:
        seconds = audio.frames / audio.samplerate
        if seconds > _LONGEST:
            raise ValueError(f"it is {seconds / 60:.0f} min long, which is no utterance")
        samples = audio.read(dtype="float32")
        rate, promised = audio.samplerate, audio.frames
    if audio.format in ("WAV", "WAVEX"):
        # libsndfile takes a WAV's length from what is there; only the header tells what should be.
        promised = max(promised, _promised_frames(file))
    if len(samples) < promised:
        raise ValueError(f"it is cut short: {len(samples) / rate:.2f} s of {promised / rate:.2f} s are there")
    return samples, rate


def _promised_frames(file: Path | BinaryIO) -> int:
    """How many frames a WAV's header says it has; 0 where it says nothing (a stream's 0xFFFFFFFF)."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return _promised_frames(opened)
    file.seek(12)
    frame_bytes = 0
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            return size // frame_bytes if frame_bytes and size < 0xFFFFFF00 else 0
        chunk = file.read(size + size % 2)
        if name == b"fmt " and len(chunk) >= 14:
            frame_bytes = struct.unpack("<H", chunk[12:14])[0]
    return 0


def cache_folder(options: DataConfig) -> Path:
    """Where 16 kHz audio and archives are kept: data.cache_dir, else $KHASR_CACHE, else ~/.cache/khasr."""
    return Path(options.cache_dir or os.environ.get("KHASR_CACHE") or "~/.cache/khasr").expanduser()


def digest(*parts: object) -> str:
    """A hex digest of anything's text."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()


def stamps(paths: list[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file that exists: what tells that audio has changed without reading it."""
    found = []
    for path in paths:
        if path.exists():
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return found


def read_table(data: bytes, name: str) -> list[str]:
    """The lines of a UTF-8 table; a byte order mark and any line ends are fine.

    Raises:
        ValueError: bytes that are not UTF-8.
    """
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{name}:{line}: byte 0x{data[error.start]:02x} is not UTF-8. Save the table as UTF-8."
        ) from None
