"""Audio of any length: heard in chunks, with context at each end, as the event's eval.py does (transformers)."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from khasr.data.audio import FRAME_STRIDE, SAMPLE_RATE, standardise
from khasr.inference.recogniser import Recogniser
from khasr.text.vocabulary import Vocabulary

# Between two pieces that are decoded apart: the longest pause of a window of this many frames (30 s).
_WINDOW = 1500


# Samples from `start` to `end` at 16 kHz, float32; fewer where the audio ends.
Read = Callable[[int, int], NDArray[np.float32]]


def long_log_probs(
    recogniser: Recogniser, read: Read, samples: int, chunk_seconds: float, stride_seconds: float
) -> Iterator[NDArray[np.float32]]:
    """Log-probabilities of one recording, piece after piece, (frames, vocab) each; one chunk is in memory at a time.

    Raises:
        ValueError: chunks that are all stride.
    """
    chunk = int(chunk_seconds * SAMPLE_RATE) // FRAME_STRIDE * FRAME_STRIDE
    stride = int(stride_seconds * SAMPLE_RATE) // FRAME_STRIDE * FRAME_STRIDE
    step = chunk - 2 * stride
    if step <= 0:
        raise ValueError(
            f"chunk_seconds={chunk_seconds:g} with stride_seconds={stride_seconds:g} at both ends leaves nothing to "
            "hear; expected chunks of more than two strides."
        )
    if samples <= chunk:
        yield _hear(recogniser, read(0, samples))
        return
    for start in range(0, samples, step):
        first, last = max(0, start - stride), min(samples, start + step + stride)
        rows = _hear(recogniser, read(first, last))
        end = len(rows) if start + step >= samples else (start - first + step) // FRAME_STRIDE
        yield rows[(start - first) // FRAME_STRIDE : end]
        if start + step >= samples:
            break


def _hear(recogniser: Recogniser, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(waveform) < 2 * FRAME_STRIDE:
        return np.zeros((0, len(recogniser.vocabulary)), np.float32)
    standard = torch.from_numpy(standardise(waveform))
    return recogniser.log_probs(standard[None], torch.tensor([len(standard)]))[0]


def pieces_at_pauses(
    pieces: Iterator[NDArray[np.float32]], vocabulary: Vocabulary
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The same frames cut at pauses, with the frame each piece starts at: so that a beam search's work stays flat."""
    silent = [0, *(i for i, symbol in enumerate(vocabulary.symbols) if symbol == " ")]
    held: NDArray[np.float32] | None = None
    start = 0
    for piece in pieces:
        held = piece if held is None else np.concatenate([held, piece])
        while len(held) > _WINDOW:
            cut = _longest_pause(held[:_WINDOW], silent)
            yield start, held[:cut]
            start, held = start + cut, held[cut:]
    if held is not None and len(held):
        yield start, held


def _longest_pause(rows: NDArray[np.float32], silent: list[int]) -> int:
    """The middle of the longest run of blanks and spaces in the second half; the end where there is none.

    Runs with a space in them come first: the pieces are words apart, and a letter may be said on both sides of blanks.
    """
    half = len(rows) // 2
    best = rows[half:].argmax(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.isin(best, silent), [False]]).astype(int)))
    runs = [(bool(best[begin:end].any()), end - begin, begin) for begin, end in edges.reshape(-1, 2).tolist()]
    if not runs:
        return len(rows)
    _, length, begin = max(runs, key=lambda run: run[:2])
    return int(half + begin + max(1, length // 2))
