"""Log-probabilities of audio of any length, in chunks with context, as transformers' pipeline computes them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from khasr.data.audio import FRAME_STRIDE, SAMPLE_RATE, standardise
from khasr.inference.recogniser import Recogniser
from khasr.text.vocabulary import Vocabulary

# Frames of the longest piece that is decoded at once (30 s).
_LONGEST_PIECE = 1500

# The samples from `start` to `end` at 16 kHz, full scale at 1; fewer at the end of the audio.
Read = Callable[[int, int], NDArray[np.float32]]


def long_log_probs(
    recogniser: Recogniser, read: Read, samples: int, chunk_seconds: float, stride_seconds: float
) -> Iterator[NDArray[np.float32]]:
    """Yields the log-probabilities of one recording in consecutive pieces, (frames, vocab) each.

    One chunk is in memory at a time.

    Args:
        samples: length of the recording at 16 kHz.
        chunk_seconds: audio per forward pass, context included.
        stride_seconds: context at each end of a chunk; its output is discarded.

    Raises:
        ValueError: chunks that consist of context only.
    """
    chunk = int(chunk_seconds * SAMPLE_RATE) // FRAME_STRIDE * FRAME_STRIDE
    stride = int(stride_seconds * SAMPLE_RATE) // FRAME_STRIDE * FRAME_STRIDE
    step = chunk - 2 * stride
    if step <= 0:
        raise ValueError(
            f"chunk_seconds={chunk_seconds:g} with stride_seconds={stride_seconds:g} of context at both ends leaves no "
            "output. Expected chunk_seconds of more than twice stride_seconds."
        )
    if samples <= chunk:
        yield _log_probs(recogniser, read(0, samples))
        return
    for start in range(0, samples, step):
        first, last = max(0, start - stride), min(samples, start + step + stride)
        rows = _log_probs(recogniser, read(first, last))
        end = len(rows) if start + step >= samples else (start - first + step) // FRAME_STRIDE
        yield rows[(start - first) // FRAME_STRIDE : end]
        if start + step >= samples:
            break


def _log_probs(recogniser: Recogniser, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(waveform) < 2 * FRAME_STRIDE:
        return np.zeros((0, len(recogniser.vocabulary)), np.float32)
    standard = torch.from_numpy(standardise(waveform))
    return recogniser.log_probs(standard[None], torch.tensor([len(standard)]))[0]


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
