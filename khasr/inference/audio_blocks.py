"""A recording of any length as blocks of samples, with a note if it is not complete."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from khasr.data.audio import SAMPLE_RATE
from khasr.data.audio_file import TruncatedAudioError, decode_blocks
from khasr.inference.audio_files import STDIN


class AudioError(Exception):
    """A file without audio that can be decoded."""


class AudioBlocks:
    """The audio of a file ("-": standard input) in consecutive blocks, (samples,) float32 at 16 kHz.

    Attributes:
        problem: after iteration, why the audio is not complete; empty if it is.
        seconds: of audio that were decoded.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.problem = ""
        self.seconds = 0.0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Decodes the file to its end.

        Raises:
            AudioError: the file cannot be read, is not audio, or has no samples.
        """
        samples = 0
        try:
            for block in decode_blocks(self._source()):
                samples += len(block)
                self.seconds = samples / SAMPLE_RATE
                yield block.astype(np.float32) / 32768
        except TruncatedAudioError as error:
            self.problem = str(error)
        except (OSError, ValueError) as error:
            raise AudioError(str(error)) from error
        if samples == 0:
            raise AudioError(self.problem or "it has no samples")

    def _source(self) -> Path | BinaryIO:
        if self._path == STDIN:
            return io.BytesIO(sys.stdin.buffer.read())
        if not Path(self._path).is_file():
            raise FileNotFoundError("it does not exist, or is not a file")
        return Path(self._path)
