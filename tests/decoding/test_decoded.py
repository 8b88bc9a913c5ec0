import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from khasr.config import DecoderConfig
from khasr.decoding.beam import BeamSearch
from khasr.decoding.decoded import posteriors, word_confidences
from khasr.decoding.greedy import decode_greedy_words
from tests.decoding.test_greedy import VOCABULARY, frames


@pytest.mark.parametrize("backend", ["compiled", "pyctcdecode"])
def test_beams(backend: str) -> None:
    options = DecoderConfig(name="beam", backend=backend)  # type: ignore[arg-type]
    beams = BeamSearch(options, VOCABULARY).beams(frames("-aab--  cc-", sure=0.9)[0].numpy(), 5)
    assert beams[0].text == "ab c"
    # The frames of a repeated symbol may differ by one.
    for word, (text, start, end) in zip(beams[0].words, [("ab", 0.02, 0.08), ("c", 0.16, 0.2)], strict=True):
        assert word.text == text
        assert (word.start, word.end) == (pytest.approx(start, abs=0.021), pytest.approx(end, abs=0.021))
    assert all(0 < w.posterior <= 1 for w in beams[0].words)
    assert [b.score for b in beams] == sorted((b.score for b in beams), reverse=True)


def test_word_confidences() -> None:
    shares = posteriors([0.0, 0.0])
    assert shares == [0.5, 0.5]
    assert word_confidences([["a", "b"], ["a", "c"]], shares) == [[1.0, 0.5], [1.0, 0.5]]


@given(
    st.lists(st.tuples(st.lists(st.sampled_from("ab"), max_size=4), st.floats(-60, 0)), min_size=1, max_size=40),
)
def test_confidence_range(hypotheses: list[tuple[list[str], float]]) -> None:
    shares = posteriors([score for _, score in hypotheses])
    assert all(0 <= share <= 1 for share in shares)
    confidences = word_confidences([words for words, _ in hypotheses], shares)
    assert all(0 <= c <= 1 for of_one in confidences for c in of_one)


def test_confidence_of_rounded_log_probs() -> None:
    log_probs = torch.full((4, len(VOCABULARY)), -20.0)
    log_probs[:, 3] = 1e-7
    decoded = decode_greedy_words(log_probs, VOCABULARY)
    assert decoded.posterior == 1
    assert [w.posterior for w in decoded.words] == [1]
