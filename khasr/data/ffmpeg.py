"""Audio in formats that libsndfile does not read, decoded by the program ffmpeg if it is on the PATH."""

import contextlib
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

FFMPEG_ENDINGS = {".m4a", ".m4b", ".aac", ".mp4", ".mov", ".webm", ".mkv", ".mka", ".3gp", ".amr", ".wma"}
"""Endings of files that only ffmpeg reads."""

# Values per block, all channels together: 1 MiB of float32.
_BLOCK_VALUES = 2**18

# A file may state so much more than it has, because of padding and rounding.
_TOLERANCE_SECONDS = 0.25

# What is kept of ffmpeg's messages.
_MOST_MESSAGES = 2**20

# A line of ffmpeg's log: the parts of ffmpeg, with their addresses, the level, and the message.
_LINE = re.compile(r"(?:\[[^\]]* @ [^\]]*\] )*\[(\w+)\] (.*)")

_DURATION = re.compile(r"\s*Duration: (\d+):(\d\d):(\d\d\.\d+)")


def ffmpeg_blocks(file: BinaryIO, path: Path | None) -> Iterator[tuple[NDArray[np.float32], int] | str]:
    """Yields what ffmpeg decodes, (samples, channels) with the rate in Hz, and last what is wrong, if anything is.

    Args:
        file: the opened file.
        path: where it is; None if it has no name.

    Raises:
        ValueError: ffmpeg is not on the PATH, or does not read the file.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise ValueError(
            "libsndfile does not recognise its format, and ffmpeg, which reads m4a, aac, mp4 and webm, is not on the "
            "PATH"
        )
    with tempfile.TemporaryFile() as log, contextlib.ExitStack() as stack:
        if path is None:  # mp4 cannot be read from a pipe
            copy = stack.enter_context(tempfile.NamedTemporaryFile())
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            path = Path(copy.name)
        command = [program, "-nostdin", "-hide_banner", "-nostats", "-v", "level+info", "-i", f"file:{path.absolute()}"]
        command += ["-map", "0:a:0", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        try:
            output = cast(BinaryIO, process.stdout)
            seconds = 0.0
            for samples, rate in _au_blocks(output):
                seconds += len(samples) / rate
                yield samples, rate
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            cast(BinaryIO, process.stdout).close()
        log.seek(0)
        lines = [_LINE.fullmatch(line) for line in log.read(_MOST_MESSAGES).decode("utf-8", "replace").splitlines()]
    messages = [(line[1], line[2]) for line in lines if line]
    # ffmpeg ends with code 0 where a file is cut short; its messages show most cuts, the stated duration the others.
    errors = [text.strip() for level, text in messages if level in ("error", "fatal", "panic")]
    why = errors[-1] if errors else f"exit code {code}" if code else ""
    if seconds == 0:
        raise ValueError(f"neither libsndfile nor ffmpeg reads it ({why or 'it has no audio'})")
    stated = _stated_seconds(messages)
    if why:
        yield f"it is damaged or cut short (ffmpeg: {why})"
    elif stated is not None and seconds < stated - _TOLERANCE_SECONDS:
        yield f"it is cut short: {seconds:.2f} s of {stated:.2f} s are there"


def _stated_seconds(messages: list[tuple[str, str]]) -> float | None:
    """The duration that a file states for its audio; None if it states none, or has video, which may be longer."""
    duration = None
    for level, text in messages:
        if level == "warning" and "Estimating duration" in text:
            return None
        if text.startswith("Stream mapping"):  # behind it are streams of the output
            break
        if re.match(r"\s*Stream #", text) and ": Audio:" not in text:
            return None
        if duration is None and (found := _DURATION.match(text)):
            hours, minutes, seconds = found.groups()
            duration = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    return duration


def _au_blocks(output: BinaryIO) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Yields the blocks of 32-bit floating-point audio in Sun's AU format."""
    head = output.read(24)
    if len(head) < 24:
        return
    _, offset, _, _, rate, channels = struct.unpack(">4s5I", head)
    output.read(offset - 24)
    size = 4 * channels * max(1, _BLOCK_VALUES // channels)
    while data := output.read(size):
        values = np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], ">f4").astype(np.float32)
        yield values.reshape(-1, channels), rate
