import numpy as np
import pytest
from numpy.typing import NDArray

from khasr.inference.long_audio import ForwardAudio, long_log_probs, pieces_at_pauses
from khasr.text.vocabulary import Vocabulary


@pytest.mark.parametrize("samples", [320 * 50, 320 * 1000, 320 * 999 + 77, 320 * 101])
def test_chunks(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks give every frame once, in order, and read no more than a chunk at once."""
    lengths: list[int] = []

    def first_samples(recogniser: object, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        lengths.append(len(waveform))
        return waveform[: len(waveform) // 320 * 320 : 320, None].repeat(3, axis=1)

    monkeypatch.setattr("khasr.inference.long_audio._log_probs", first_samples)
    wave = np.arange(samples, dtype=np.float32)
    pieces = list(long_log_probs(None, np.array_split(wave, 37), 2.0, 0.5))  # type: ignore[arg-type]
    assert np.concatenate(pieces)[:, 0].tolist() == [320.0 * i for i in range(samples // 320)]
    assert max(lengths) <= 2 * 16_000


def test_pieces() -> None:
    """Pieces are cut at pauses, preferably between words, and together have every frame."""
    vocabulary = Vocabulary.of_texts(["a b"])
    letter, space = vocabulary.symbols.index("a"), vocabulary.symbols.index(" ")
    rows = np.full((4000, len(vocabulary)), -5.0, np.float32)
    rows[:, letter] = 0.0
    rows[1200:1240, 0] = 1.0
    pieces = list(pieces_at_pauses(iter([rows]), vocabulary))
    assert [start for start, _ in pieces][:2] == [0, 1220]
    assert sum(len(p) for _, p in pieces) == 4000
    # A shorter pause with a space is preferred to a longer one that may be within a word.
    rows[900:904, 0] = 1.0
    rows[904, space] = 1.0
    pieces = list(pieces_at_pauses(iter([rows]), vocabulary))
    assert [start for start, _ in pieces][:2] == [0, 902]


def test_chunks_of_context() -> None:
    with pytest.raises(ValueError, match=r"chunk_seconds=4 with stride_seconds=2 .* leaves no output"):
        next(long_log_probs(None, [np.zeros(320_000, np.float32)], 4.0, 2.0))  # type: ignore[arg-type]


def test_forward_audio() -> None:
    """Any samples in their order, whether they overlap or leave blocks out; samples after the end do not exist."""
    samples = np.arange(100, dtype=np.float32)
    audio = ForwardAudio(np.split(samples, [3, 10, 11, 40, 90]))
    for start, end in [(0, 5), (2, 12), (30, 35), (30, 36), (85, 95), (97, 200), (150, 160)]:
        assert audio.read(start, end).tolist() == samples[start:end].tolist()
