"""The compiled search for sentences in a recording: Viterbi with audio and sentences that may be left out.

Scores are log-probabilities minus that of the best symbol of the frame: the path of the best symbols has 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from khasr.decoding.compiled.tables import jit

# A sentence found in frames [begin, end), after the record `before` (-1: none).
RECORD = np.dtype([("sentence", "i4"), ("begin", "i4"), ("end", "i4"), ("before", "i4")], align=True)

# Of the state between sentences: the next frame, the number of records, the first and the last sentence of the window.
FRAME, RECORDS, LOW, HIGH = 0, 1, 2, 3

_NOTHING = np.float32(-1e30)


@jit
def advance(
    rows: NDArray[np.float32],
    skipped: NDArray[np.float32],
    symbols: NDArray[np.int32],
    first: NDArray[np.int64],
    missing: float,
    margin: float,
    score: NDArray[np.float32],
    origin: NDArray[np.int32],
    entered: NDArray[np.int32],
    alive: NDArray[np.int64],
    between: NDArray[np.float32],
    record_of: NDArray[np.int32],
    records: NDArray[Any],
    at: NDArray[np.int64],
) -> int:
    """Processes frames until the end or until records could run out; returns how many frames were processed.

    The states of a sentence with n symbols are its symbols with a blank between two of them, 2 n - 1 states. State
    `between[k]` is before sentence k: it takes frames at the cost `skipped`, and moves on without a frame to
    `between[k + 1]` at the cost `missing`.

    Args:
        rows: (frames, vocab), at most 0; blank first.
        skipped: (frames,), the cost of a frame outside of all sentences.
        symbols: the symbols of all sentences; those of sentence k are first[k] to first[k + 1].
        margin: a path within a sentence is dropped if it is worse than to wait before the sentence by more than this.
        score, origin, entered: by state of a sentence: the best path's score, its last record, and the frame in which
            it entered the sentence.
        alive: the states of each sentence that may have a path, counted from its first.
        between, record_of: by place between sentences: the best path's score and its last record.
    """
    low, high = at[LOW], at[HIGH]
    for t in range(len(rows)):
        if at[RECORDS] + (high - low) > len(records):
            return t
        row = rows[t]
        for k in range(low, high):
            start = 2 * first[k] - k
            count = 2 * (first[k + 1] - first[k]) - 1
            floor = between[k] - margin
            last = min(alive[k] + 2, count)
            left = 0
            for i in range(last - 1, -1, -1):
                s = start + i
                best = score[s]
                if i == 0:
                    if between[k] > best:
                        best, origin[s], entered[s] = between[k], record_of[k], at[FRAME]
                else:
                    source = s
                    if score[s - 1] > best:
                        best, source = score[s - 1], s - 1
                    if i % 2 == 0 and score[s - 2] > best:
                        symbol = first[k] + i // 2
                        if symbols[symbol] != symbols[symbol - 1]:
                            best, source = score[s - 2], s - 2
                    origin[s], entered[s] = origin[source], entered[source]
                best += row[symbols[first[k] + i // 2]] if i % 2 == 0 else row[0]
                if best < floor:
                    best = _NOTHING
                elif left == 0:
                    left = i + 1
                score[s] = best
            alive[k] = left
        for k in range(low, high + 1):
            here = between[k] - skipped[t]
            if k > low:
                end = 2 * first[k] - k - 1  # the last state of sentence k - 1
                if alive[k - 1] == 2 * (first[k] - first[k - 1]) - 1 and score[end] > here:
                    here = score[end]
                    number = at[RECORDS]
                    records[number].sentence = k - 1
                    records[number].begin = entered[end]
                    records[number].end = at[FRAME] + 1
                    records[number].before = origin[end]
                    record_of[k] = number
                    at[RECORDS] += 1
                if between[k - 1] - missing > here:
                    here = between[k - 1] - missing
                    record_of[k] = record_of[k - 1]
            between[k] = max(here, _NOTHING)
        at[FRAME] += 1
    return len(rows)


@jit
def collect(
    first: NDArray[np.int64],
    origin: NDArray[np.int32],
    alive: NDArray[np.int64],
    record_of: NDArray[np.int32],
    records: NDArray[Any],
    at: NDArray[np.int64],
) -> None:
    """Drops the records that no path leads to any more."""
    count = at[RECORDS]
    number = np.full(count, -1, np.int32)
    for k in range(at[LOW], at[HIGH] + 1):
        if record_of[k] >= 0:
            number[record_of[k]] = 0
    for k in range(at[LOW], at[HIGH]):
        start = 2 * first[k] - k
        for s in range(start, start + alive[k]):
            if origin[s] >= 0:
                number[origin[s]] = 0
    for i in range(count - 1, -1, -1):  # a record follows the one before it
        if number[i] >= 0 and records[i].before >= 0:
            number[records[i].before] = 0
    kept = 0
    for i in range(count):
        if number[i] >= 0:
            before = records[i].before
            records[kept] = records[i]
            records[kept].before = number[before] if before >= 0 else -1
            number[i] = kept
            kept += 1
    for k in range(at[LOW], at[HIGH] + 1):
        if record_of[k] >= 0:
            record_of[k] = number[record_of[k]]
    for k in range(at[LOW], at[HIGH]):
        start = 2 * first[k] - k
        for s in range(start, start + alive[k]):
            if origin[s] >= 0:
                origin[s] = number[origin[s]]
    at[RECORDS] = kept
