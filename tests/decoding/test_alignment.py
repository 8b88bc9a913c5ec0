"""Sentences in a recording, from log-probabilities with known boundaries."""

import numpy as np
import pytest
from numpy.typing import NDArray

from khasr.decoding import alignment
from khasr.decoding.alignment import Found, SentenceAligner, symbol_times
from khasr.decoding.compiled import alignment_kernel

# Label ids: the blank 0, <unk> 1, the space 2, letters from 3.
SYMBOLS, SILENT = 14, [0, 2]


def sentences(count: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, SYMBOLS, rng.integers(6, 16)).tolist() for _ in range(count)]


def recording(
    spoken: list[list[int]], errors: float = 0.15, seed: int = 1
) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """Log-probabilities in which a share of the symbols is recognised wrongly, and the frames of each sentence."""
    rng = np.random.default_rng(seed)
    path: list[int] = []
    spans = []
    for sentence in spoken:
        path += [0] * int(rng.integers(2, 12))
        begin = len(path)
        for symbol in sentence:
            path += [int(rng.integers(3, SYMBOLS)) if rng.random() < errors else symbol] * int(rng.integers(1, 3)) + [0]
        spans.append((begin, len(path) - 1))
    path += [0] * 5
    rows = np.full((len(path), SYMBOLS), 0.1 / (SYMBOLS - 1), np.float32)
    rows[np.arange(len(path)), path] = 0.9
    return np.log(rows), spans


def found(text: list[list[int]], rows: NDArray[np.float32], piece: int = 37) -> list[Found]:
    aligner = SentenceAligner(text, SILENT)
    for start in range(0, len(rows), piece):
        aligner.add(rows[start : start + piece])
    return aligner.finish()


def check(expected: dict[int, tuple[int, int]], spans: list[Found], within: int = 6, least: float = 0.95) -> None:
    """The spans are those of the expected sentences, up to wrongly recognised symbols at their ends."""
    right = [s for s in spans if s.sentence in expected and abs(s.begin - expected[s.sentence][0]) <= within
             and abs(s.end - expected[s.sentence][1]) <= within]  # fmt: skip
    assert len(right) >= least * len(expected)
    assert len(spans) - len(right) <= 0.05 * len(expected)
    assert [s.sentence for s in spans] == sorted(s.sentence for s in spans)


def test_exact() -> None:
    text = sentences(8)
    rows, spans = recording(text, errors=0)
    assert [(s.begin, s.end) for s in found(text, rows)] == spans


def test_missing_and_inserted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences without audio, single ones and a block, and audio without text; records are collected often."""
    monkeypatch.setattr(alignment, "_RECORDS", 400)
    text = sentences(120)
    silent = {3, 50, 51, *range(70, 90), 119}
    inserted = sentences(12, seed=5)
    spoken = [(i, s) for i, s in enumerate(text) if i not in silent]
    spoken[30:30] = [(-1, s) for s in inserted[:8]]
    spoken[5:5] = [(-1, inserted[8])]
    rows, spans = recording([s for _, s in spoken])
    expected = {i: span for (i, _), span in zip(spoken, spans, strict=True) if i >= 0}
    check(expected, found(text, rows))


def test_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that is shorter than the text moves with the recording, and gives the same sentences."""
    text = sentences(150)
    rows, spans = recording(text)
    whole = found(text, rows)
    monkeypatch.setattr(alignment, "_WINDOW", 200)
    monkeypatch.setattr(alignment, "_PATIENCE", 150.0)
    assert found(text, rows) == whole
    check(dict(enumerate(spans)), whole)


def test_pieces() -> None:
    """The sentences do not depend on how the recording is cut into pieces."""
    text = sentences(20)
    rows, _ = recording(text)
    assert found(text, rows, piece=11) == found(text, rows, piece=10**6)


def test_collect() -> None:
    """Records that no path leads to are dropped, and the numbers of the others change with them."""
    records = np.zeros(4, alignment_kernel.RECORD)
    records["before"], records["sentence"] = [-1, 0, -1, 2], [0, 1, 5, 6]
    at = np.array([9, 4, 0, 1], np.int64)
    record_of, origin = np.array([3, -1], np.int32), np.array([2, -1, -1], np.int32)
    first, alive = np.array([0, 2], np.int64), np.array([1], np.int64)
    alignment_kernel.collect(first, origin, alive, record_of, records, at)
    assert at.tolist() == [9, 2, 0, 1]
    assert records[:2].tolist() == [(5, 0, 0, -1), (6, 0, 0, 0)]
    assert (record_of.tolist(), origin.tolist()) == ([1, -1], [0, -1, -1])


def test_symbol_times() -> None:
    rows, [(begin, end)] = recording([[3, 4, 4, 5]], errors=0)
    starts, scores = symbol_times(rows[begin:end], [3, 4, 4, 5])
    best = rows[begin:end].argmax(axis=1)
    assert starts.tolist() == [i for i in range(len(best)) if best[i] and (i == 0 or best[i - 1] != best[i])]
    assert np.exp(scores) == pytest.approx(0.9)
