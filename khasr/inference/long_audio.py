"""Log-probabilities of audio of any length, in chunks with context, as transformers' pipeline computes them."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from khasr.data.audio import FRAME_STRIDE, SAMPLE_RATE, standardise
from khasr.inference.recogniser import Recogniser
from khasr.text.vocabulary import Vocabulary

# Frames of the longest piece that is decoded at once (30 s).
_LONGEST_PIECE = 1500


def long_log_probs(
    recogniser: Recogniser, blocks: Iterable[NDArray[np.float32]], chunk_seconds: float, stride_seconds: float
) -> Iterator[NDArray[np.float32]]:
    """Yields the log-probabilities of one recording in consecutive pieces, (frames, vocab) each.

    The audio is read as it is recognised: one chunk and one block are in memory at a time.

    Args:
        blocks: consecutive parts of the recording, (samples,) at 16 kHz, full scale at 1.
        chunk_seconds: audio per forward pass, context included.
        stride_seconds: context at each end of a chunk; its output is discarded.

    Raises:
        ValueError: chunks that consist of context only, or that are not finite.
    """
    if not (stride_seconds >= 0 and chunk_seconds < math.inf):
        raise ValueError(
            f"chunk_seconds={chunk_seconds:g} with stride_seconds={stride_seconds:g}: expected finite numbers of "
            "seconds that are not negative."
        )
    chunk = int(chunk_seconds * SAMPLE_RATE) // FRAME_STRIDE * FRAME_STRIDE
    stride = int(stride_seconds * SAMPLE_RATE) // FRAME_STRIDE * FRAME_STRIDE
    step = chunk - 2 * stride
    if step <= 0:
        raise ValueError(
            f"chunk_seconds={chunk_seconds:g} with stride_seconds={stride_seconds:g} of context at both ends leaves no "
            "output. Expected chunk_seconds of more than twice stride_seconds."
        )
    audio = ForwardAudio(blocks)
    # One sample more than a chunk, to know whether it is the last.
    if len(first := audio.read(0, chunk + 1)) <= chunk:
        yield _log_probs(recogniser, first)
        return
    start, more = 0, True
    while more:
        context = min(start, stride)
        waveform = audio.read(start - context, start + step + max(stride, 1))
        more = len(waveform) > context + step
        rows = _log_probs(recogniser, waveform[: context + step + stride])
        yield rows[context // FRAME_STRIDE : (context + step) // FRAME_STRIDE if more else len(rows)]
        start += step


class ForwardAudio:
    """Random access, forwards only, to the samples of consecutive blocks."""

    def __init__(self, blocks: Iterable[NDArray[np.float32]]) -> None:
        self._blocks = iter(blocks)
        self._held = np.zeros(0, np.float32)
        self._start = 0

    def read(self, start: int, end: int) -> NDArray[np.float32]:
        """The samples from `start` to `end`, or to the end of the audio; samples before `start` are dropped."""
        parts, position = [self._held], self._start + len(self._held)
        while position < end and (block := next(self._blocks, None)) is not None:
            position += len(block)
            parts = [*parts, block] if position > start else []
        held = np.concatenate([*parts, np.zeros(0, np.float32)])
        drop = min(max(0, start - (position - len(held))), len(held))
        self._held, self._start = held[drop:], position - len(held) + drop
        return self._held[: max(0, end - self._start)]


def _log_probs(recogniser: Recogniser, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(waveform) < 2 * FRAME_STRIDE:
        return np.zeros((0, len(recogniser.vocabulary)), np.float32)
    samples = torch.from_numpy(standardise(waveform) if recogniser.standardised else waveform)
    return recogniser.log_probs(samples[None], torch.tensor([len(samples)]))[0]


def pieces_at_pauses(
    pieces: Iterator[NDArray[np.float32]], vocabulary: Vocabulary
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yields the same frames cut at pauses, each piece with its first frame; at most 30 s, to bound the beam search."""
    silent = [0, *(i for i, symbol in enumerate(vocabulary.symbols) if symbol == " ")]
    held: NDArray[np.float32] | None = None
    start = 0
    for piece in pieces:
        held = piece if held is None else np.concatenate([held, piece])
        while len(held) > _LONGEST_PIECE:
            cut = _longest_pause(held[:_LONGEST_PIECE], silent)
            yield start, held[:cut]
            start, held = start + cut, held[cut:]
    if held is not None and len(held):
        yield start, held


def _longest_pause(rows: NDArray[np.float32], silent: list[int]) -> int:
    """The middle of the longest run of blanks and spaces in the second half; the last frame if there is none.

    Runs with a space are preferred: pieces are joined by a space, and blanks alone may be within a word.
    """
    half = len(rows) // 2
    best = rows[half:].argmax(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.isin(best, silent), [False]]).astype(int)))
    runs = [(bool(best[begin:end].any()), end - begin, begin) for begin, end in edges.reshape(-1, 2).tolist()]
    if not runs:
        return len(rows)
    _, length, begin = max(runs, key=lambda run: run[:2])
    return int(half + begin + max(1, length // 2))
