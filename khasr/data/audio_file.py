"""Audio files, decoded in blocks to the end of their stream.

`decode_blocks` is for recordings of any length, `decode_audio` for an utterance. Both use libsndfile, and ffmpeg, if it
is on the PATH, for formats that libsndfile does not read (m4a, aac, mp4, webm).
"""

import io
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from khasr.data.audio import Resampler
from khasr.data.channel_mix import CancellingChannelsError, ChannelMix
from khasr.data.containers import FORMATS, Segment, Stream, read_layout
from khasr.data.ffmpeg import ffmpeg_blocks

# No longer recording is an utterance.
LONGEST_SECONDS = 20 * 60

# Values per block, all channels together: 1 MiB of float32.
_BLOCK_VALUES = 2**18

# Samples per channel of one read: what may be lost before a damaged place.
_PIECE = 2**11


class TruncatedAudioError(ValueError):
    """The audio is shorter, or longer, than its file states; raised after everything was decoded."""


@dataclass(frozen=True)
class Recording:
    """An utterance's audio, and what is measured before resampling.

    Attributes:
        waveform: (samples,) at 16 kHz, mono.
        rate: of the source, in Hz.
        peak: largest sample of any channel, full scale at 1.
        clipped: share of samples, of any channel, that are at full scale together with both neighbours.
    """

    waveform: NDArray[np.int16]
    rate: int
    peak: float
    clipped: float


def decode_audio(file: Path | BinaryIO) -> Recording:
    """The audio of an utterance.

    Raises:
        ValueError: it is not audio, damaged, cut short (TruncatedAudioError), empty, or longer than 20 minutes.
        OSError: the file cannot be read.
    """
    return record(native_blocks(file))


def record(blocks: Iterable[tuple[NDArray[np.float32], int]]) -> Recording:
    """The recording of some blocks of (samples, channels) or (samples,) with their rate in Hz.

    Raises:
        ValueError: no samples, samples that are not finite, a rate out of range, more than 20 minutes, or channels that
            cancel when they are mixed.
    """
    meter = _Meter()
    waveform = list(_at_16k(meter.measured(blocks)))
    if meter.samples == 0:
        raise ValueError("it has no samples")
    return Recording(np.concatenate(waveform), meter.rate, meter.peak, meter.flat / max(1, meter.samples - 2))


def decode_blocks(file: Path | BinaryIO) -> Iterator[NDArray[np.int16]]:
    """Yields a recording of any length as blocks of mono samples at 16 kHz, with memory for one block.

    Raises:
        ValueError: it is not audio, or damaged; TruncatedAudioError after the last block if it is cut short,
            CancellingChannelsError if its channels cancel when they are mixed.
        OSError: the file cannot be read.
    """
    return _at_16k(native_blocks(file))


def _at_16k(blocks: Iterable[tuple[NDArray[np.float32], int]]) -> Iterator[NDArray[np.int16]]:
    resampler, rate = None, 0
    held: NDArray[np.float32] | None = None
    problem: ValueError | None = None
    mix = ChannelMix()
    source = iter(blocks)
    while True:
        try:
            samples, block_rate = next(source)
        except StopIteration:
            break
        except TruncatedAudioError as error:
            problem = error
            break
        if resampler is not None and block_rate != rate:  # a joined file of another rate
            yield resampler.convert(cast(NDArray[np.float32], held), last=True)
            resampler, held = None, None
        if resampler is None:
            resampler, rate = Resampler(block_rate), block_rate
        mix.measure(samples)
        if held is not None:
            yield resampler.convert(held)
        held = samples
    if resampler is not None and held is not None:
        yield resampler.convert(held, last=True)
    if mix.cancels:
        raise CancellingChannelsError(mix.describe())
    if problem is not None:
        raise problem


class _Meter:
    """Measures blocks as they pass."""

    def __init__(self) -> None:
        self.samples = self.flat = self.rate = 0
        self.peak = 0.0
        self._seconds = 0.0
        self._edge: NDArray[np.bool_] | None = None

    def measured(self, blocks: Iterable[tuple[NDArray[np.float32], int]]) -> Iterator[tuple[NDArray[np.float32], int]]:
        for samples, rate in blocks:
            self.rate = self.rate or rate
            self._seconds += len(samples) / rate
            if self._seconds > LONGEST_SECONDS:
                raise ValueError(f"it is longer than {LONGEST_SECONDS // 60} min, the longest that can be an utterance")
            level = np.abs(samples if samples.ndim == 2 else samples[:, None])
            if len(level):
                self.peak = max(self.peak, float(level.max()))
            full = level >= 0.999
            if self._edge is not None and self._edge.shape[1] == full.shape[1]:
                full = np.concatenate([self._edge, full])
            self.flat += int((full[1:-1] & full[:-2] & full[2:]).sum())
            self.samples += level.size
            self._edge = full[-2:]
            yield samples, rate


# ------------------------------------------------------------------------------------------------------------ decoding


class _View(io.RawIOBase):
    """Segments of a file as one file. It has no name, from which libsndfile would guess a format."""

    def __init__(self, file: BinaryIO, segments: list[Segment]) -> None:
        self._file = file
        self._parts: list[tuple[int, int, Segment]] = []  # start and end in the view, and the segment
        end = 0
        for segment in segments:
            length = len(segment) if isinstance(segment, bytes) else segment[1] - segment[0]
            if length > 0:
                self._parts.append((end, end + length, segment))
                end += length
        self._size, self._at, self._part = end, 0, 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: object) -> int:
        memory = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = 0
        while count < len(memory) and self._at < self._size:
            start, end, segment = self._segment()
            wanted = min(len(memory) - count, end - self._at)
            if isinstance(segment, bytes):
                data = segment[self._at - start : self._at - start + wanted]
            else:
                try:
                    self._file.seek(segment[0] + self._at - start)
                    data = self._file.read(wanted)
                except OSError as error:  # libsndfile calls this and cannot pass it on
                    self.error = error
                    break
            if not data:
                break
            memory[count : count + len(data)] = data
            count += len(data)
            self._at += len(data)
        return count

    def _segment(self) -> tuple[int, int, Segment]:
        part = self._parts[self._part]
        if not part[0] <= self._at < part[1]:
            self._part = next(i for i, (start, end, _) in enumerate(self._parts) if start <= self._at < end)
            part = self._parts[self._part]
        return part


class _SequentialFile(soundfile.SoundFile):
    """A file that is read without seeking, which fails where the length is unknown."""

    def seekable(self) -> bool:
        return False


def native_blocks(file: Path | BinaryIO) -> Generator[tuple[NDArray[np.float32], int], None, None]:
    """Yields (samples, channels) with the source's rate in Hz; TruncatedAudioError is raised after the last block."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            yield from _native_blocks_of(opened, file)
    else:
        yield from _native_blocks_of(file, None)


def _native_blocks_of(file: BinaryIO, path: Path | None) -> Iterator[tuple[NDArray[np.float32], int]]:
    if file.seek(0, 2) == 0:
        raise ValueError("it is empty (0 bytes)")
    layout = read_layout(file)
    problem = layout.problem
    count = 0
    for stream in layout.streams:
        view = _View(file, stream.segments)
        try:
            sound = _SequentialFile(view)
        except soundfile.LibsndfileError as error:
            if view.error is not None:
                raise view.error from None
            if "not recognised" in error.error_string or not layout.known:
                for block in ffmpeg_blocks(file, path):
                    if isinstance(block, str):
                        raise TruncatedAudioError(block) from None
                    yield block
                return
            raise ValueError(problem or error.error_string.removeprefix("Error : ")) from None
        with sound:
            if not layout.known:
                raise ValueError(
                    f"its format, {sound.format_info}, is not accepted, because cut files of it are not detected. "
                    f"Expected {FORMATS}; `ffmpeg -i FILE FILE.wav` or `sox FILE FILE.wav` converts it"
                )
            for samples in _stream_blocks(sound, view, stream):
                if isinstance(samples, str):
                    problem = problem or samples
                else:
                    count += len(samples)
                    yield samples, sound.samplerate
    if problem:
        raise TruncatedAudioError(problem)


def _stream_blocks(sound: soundfile.SoundFile, view: _View, stream: Stream) -> Iterator[NDArray[np.float32] | str]:
    """Yields the blocks of one stream, and at the end what is wrong with its length, if anything is."""
    channels, rate = sound.channels, sound.samplerate
    size = max(1, _BLOCK_VALUES // channels)
    stated = stream.frames
    count = 0
    while True:
        # Not across the stated end: an error behind it would lose the last piece.
        wanted = min(size, stated - count) if stated is not None and count < stated else size
        block = np.empty((wanted, channels), np.float32)
        found, problem = _fill(sound, block)
        if view.error is not None:
            raise view.error
        if problem:
            if found:
                yield block[:found]
            if stated is None or count + found < stated:
                yield f"it is damaged after {(count + found) / rate:.2f} s: {problem}"
            return  # after the stated end there are tags, not audio
        if found == 0:
            break
        count += found
        yield block[:found]
    if stated is not None and count + stream.tolerance < stated:
        yield f"it is cut short: {count / rate:.2f} s of {stated / rate:.2f} s are there"
    elif sound.format not in ("MP3", "FLAC") and count < sound.frames < 2**62:
        yield f"it is cut short: {count / rate:.2f} s of {sound.frames / rate:.2f} s are there"


def _fill(sound: soundfile.SoundFile, block: NDArray[np.float32]) -> tuple[int, str]:
    """Reads into a block of (samples, channels); the number of samples, and an error behind them if there is one.

    In pieces, because libsndfile returns nothing of a read that ends in an error.
    """
    found = 0
    while found < len(block):
        try:
            read = sound.buffer_read_into(block[found : found + _PIECE].data.cast("B"), "float32")
        except soundfile.LibsndfileError as error:
            return found, error.error_string.removeprefix("Error : ").strip()
        if read == 0:
            break
        found += read
    return found, ""
