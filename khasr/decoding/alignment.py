"""Where the sentences of a text are spoken in a recording of any length, from frame log-probabilities.

Sentences are in order. Audio without text and sentences without audio are left out. torchaudio's forced_align has no
states for them and keeps a decision for each frame and symbol, gigabytes for an hour. Here, memory grows with the text
alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from khasr.decoding.compiled import alignment_kernel as kernel
from khasr.decoding.decoded import FRAME_SECONDS

# The cost of a frame that has speech and is in no sentence, and of a sentence that is not spoken: ln P. A frame of a
# sentence that is spoken costs 0.2 to 1 (speech, on models of 19 to 40 % CER), of a different sentence 3 to 6.
_SKIPPED, _MISSING = 2.0, 5.0

# A path that is worse by this than to wait before its sentence is dropped.
_MARGIN = 60.0

# A sentence is given up if all paths before it are worse than the best path by this: about two minutes of speech.
_PATIENCE = 3000.0

# Symbols of the sentences that are looked for at a time: about 15 minutes of speech may be missing from a recording.
_WINDOW = 12_000

_RECORDS = 1 << 20


class Found(NamedTuple):
    """A sentence in the frames [begin, end) of a recording, by its number."""

    sentence: int
    begin: int
    end: int


class SentenceAligner:
    """Finds sentences in a recording that is given in consecutive pieces."""

    def __init__(self, sentences: Sequence[Sequence[int]], silent: Sequence[int]) -> None:
        """The aligner of one recording.

        Args:
            sentences: the label ids of each sentence, at least one.
            silent: label ids of the blank and the space.
        """
        self._silent = list(silent)
        self._symbols = np.array([s for sentence in sentences for s in sentence], np.int32)
        self._first = np.cumsum([0, *map(len, sentences)]).astype(np.int64)
        states, count = max(1, 2 * len(self._symbols) - len(sentences)), len(sentences)
        self._score = np.full(states, -1e30, np.float32)
        self._origin, self._entered = np.full(states, -1, np.int32), np.zeros(states, np.int32)
        self._alive = np.zeros(count, np.int64)
        self._between = np.full(count + 1, -1e30, np.float32)
        self._record_of = np.full(count + 1, -1, np.int32)
        self._records = np.zeros(_RECORDS, kernel.RECORD)
        self._at = np.zeros(4, np.int64)
        self._between[0] = 0.0
        self._widen(count)

    def add(self, log_probs: NDArray[np.float32]) -> None:
        """Processes the next frames, (frames, vocab)."""
        rows = np.ascontiguousarray(log_probs - log_probs.max(axis=1, keepdims=True), np.float32)
        spoken = 1 - np.exp(log_probs[:, self._silent]).sum(axis=1)
        skipped = (_SKIPPED * np.clip(spoken, 0, 1)).astype(np.float32)
        arrays = (self._origin, self._entered, self._alive, self._between, self._record_of)
        while True:
            done = kernel.advance(
                rows,
                skipped,
                self._symbols,
                self._first,
                _MISSING,
                _MARGIN,
                self._score,
                *arrays,
                self._records,
                self._at,
            )
            if done == len(rows):
                break
            rows, skipped = rows[done:], skipped[done:]
            kernel.collect(self._first, self._origin, self._alive, self._record_of, self._records, self._at)
            if self._at[kernel.RECORDS] > len(self._records) // 2:
                self._records = np.concatenate([self._records, np.zeros_like(self._records)])
        self._move_window()

    def finish(self) -> list[Found]:
        """The sentences that were found, in order."""
        self._widen(len(self._first) - 1)
        found, number = [], int(self._record_of[-1])
        while number >= 0:
            sentence, begin, end, number = self._records[number].item()
            found.append(Found(sentence, begin, end))
        return found[::-1]

    def _move_window(self) -> None:
        low, high = self._at[[kernel.LOW, kernel.HIGH]].tolist()
        best = self._between[low : high + 1].max()
        # Scores stay near 0, where float32 is exact enough.
        self._between[low : high + 1] -= best
        states = slice(2 * self._first[low] - low, 2 * self._first[high] - high)
        self._score[states] = np.maximum(self._score[states] - best, np.float32(-1e30))
        while low < high and self._between[low] < -_PATIENCE and self._alive[low] == 0:
            low += 1
        self._at[kernel.LOW] = low
        self._widen(high)

    def _widen(self, least: int) -> None:
        """Adds sentences to the window, at least up to number `least`; to arrive there they are left out."""
        low, high = self._at[[kernel.LOW, kernel.HIGH]].tolist()
        count = len(self._first) - 1
        while high < count and (high < least or self._first[high + 1] - self._first[low] <= _WINDOW):
            self._between[high + 1] = self._between[high] - _MISSING
            self._record_of[high + 1] = self._record_of[high]
            high += 1
        self._at[kernel.HIGH] = high


def symbol_times(
    log_probs: NDArray[np.float32], symbols: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The frame in which each symbol of a sentence begins, and the mean of ln P of the symbol over its frames.

    Args:
        log_probs: (frames, vocab) of the sentence, with at least as many frames as a CTC path of the symbols has.
    """
    path, scores = torchaudio.functional.forced_align(
        torch.from_numpy(np.ascontiguousarray(log_probs))[None], torch.tensor([list(symbols)], dtype=torch.int32)
    )
    spans = torchaudio.functional.merge_tokens(path[0], scores[0])
    return np.array([s.start for s in spans], np.int64), np.array([s.score for s in spans], np.float64)


def seconds(frame: int) -> float:
    """The time of the beginning of a frame."""
    return frame * FRAME_SECONDS
