"""Segments of recordings: utterances that a table locates by their start and end in a longer file."""

import threading
from collections import OrderedDict, deque
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from khasr.data.audio_file import LONGEST_SECONDS, Recording, TruncatedAudioError, native_blocks, record

# What a segment may lack at its end: tables have rounded times.
_TOLERANCE_SECONDS = 0.1

# Audio before a segment that stays in memory, for segments that overlap or are read by several threads.
_HELD_SECONDS = 60

# Recordings that are open at a time.
_OPEN = 4


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording.

    Attributes:
        start: in seconds.
        end: in seconds; None for the end of the recording.
        channel: the only channel to read, counted from 0; None for the mean of all channels.
    """

    start: float = 0.0
    end: float | None = None
    channel: int | None = None


class SegmentReader:
    """Reads segments. A recording is decoded once if its segments are read in their order in time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tapes: OrderedDict[Path, _Tape] = OrderedDict()

    def read(self, path: Path, segment: Segment) -> Recording:
        """The audio of a segment.

        Raises:
            ValueError: the segment is not in the recording, too long, or its audio cannot be decoded.
            OSError: the file cannot be read.
        """
        with self._lock:
            tape = self._tapes.pop(path, None) or _Tape(path)
            self._tapes[path] = tape
            oldest = self._tapes.popitem(last=False)[1] if len(self._tapes) > _OPEN else None
        if oldest is not None:
            with oldest.lock:
                oldest.rewind()
        with tape.lock:
            return record([tape.cut(segment)])


class _Tape:
    """A recording that is decoded forwards; what was decoded last stays in memory."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self._path = path
        self._blocks: Generator[tuple[NDArray[np.float32], int], None, None] | None = None
        self.rewind()

    def rewind(self) -> None:
        """Closes the file; the next read starts at its beginning."""
        if self._blocks is not None:
            self._blocks.close()
        self._blocks = None
        self._held: deque[NDArray[np.float32]] = deque()
        self._first = self._position = self._rate = 0  # the first held sample, the one after the last, and Hz
        self._ended, self._problem = False, ""

    def cut(self, segment: Segment) -> tuple[NDArray[np.float32], int]:
        """The samples of a segment, and their rate in Hz."""
        if self._blocks is None or round(segment.start * self._rate) < self._first:
            self.rewind()
            self._blocks = native_blocks(self._path)
        if self._position == 0:
            self._advance()
        rate = self._rate or 1
        start = round(segment.start * rate)
        longest = start + LONGEST_SECONDS * rate
        end = longest + 1 if segment.end is None else round(segment.end * rate)
        if segment.end is not None and end > longest:
            raise ValueError(
                f"the segment has {segment.end - segment.start:.0f} s; the longest utterance has {LONGEST_SECONDS} s"
            )
        while self._position < end and not self._ended:
            self._advance()
            while self._held and self._first + len(self._held[0]) < start - _HELD_SECONDS * rate:
                self._first += len(self._held.popleft())
        missing = end - self._position - _TOLERANCE_SECONDS * rate
        if self._position <= start or (segment.end is not None and missing > 0):
            place = f"{segment.start:.2f} s" + ("" if segment.end is None else f" to {segment.end:.2f} s")
            why = f"its segment {place} is not in the file, which has {self._position / rate:.2f} s of audio"
            raise TruncatedAudioError(f"{why}: {self._problem}") if self._problem else ValueError(why)
        if segment.end is None and self._problem:
            raise TruncatedAudioError(self._problem)
        samples = np.concatenate(self._held)[start - self._first : end - self._first]
        if segment.channel is None:
            return samples, rate
        if segment.channel >= samples.shape[1]:
            raise ValueError(f"it has {samples.shape[1]} channels, and the table names channel {segment.channel}")
        return samples[:, segment.channel], rate

    def _advance(self) -> None:
        """Decodes the next block."""
        assert self._blocks is not None
        try:
            samples, rate = next(self._blocks)
        except StopIteration:
            self._ended = True
            return
        except TruncatedAudioError as error:
            self._ended, self._problem = True, str(error)
            return
        except BaseException:
            self.rewind()
            raise
        if self._rate not in (0, rate):
            self.rewind()
            raise ValueError("its sample rate changes in the middle, so that segments cannot be located")
        self._rate = rate
        self._held.append(samples if samples.ndim == 2 else samples[:, None])
        self._position += len(samples)
