import math

import numpy as np
import pytest

from khasr.scoring.calibration import normalised_cross_entropy, reliability, right_words


@pytest.mark.parametrize(
    ("reference", "hypothesis", "right"),
    [
        ("ក ខ គ", "ក ខ គ", [True, True, True]),
        ("ក ខ គ", "ក ច", [True, False]),
        ("ក ខ", "ក ង ខ", [True, False, True]),
        ("", "ក", [False]),
        ("ក", "", []),
    ],
)
def test_right_words(reference: str, hypothesis: str, right: list[bool]) -> None:
    assert right_words(reference, hypothesis) == right


def test_entropy() -> None:
    """By hand: three of four words right; utterances without words do not count."""
    right = [[True, True], [], [True, False]]
    confidences = [[0.9, 0.8], [], [0.7, 0.4]]
    cross = -(math.log(0.9) + math.log(0.8) + math.log(0.7) + math.log(0.6))
    constant = -(3 * math.log(0.75) + math.log(0.25))
    assert normalised_cross_entropy(right, confidences).value == pytest.approx(1 - cross / constant)


@pytest.mark.parametrize(
    ("of_right", "of_wrong", "low", "high"), [(1, 0, 0.99, 1), (0.6, 0.6, -1e-3, 0), (1, 1, -9, -3)]
)
def test_entropy_of_extremes(of_right: float, of_wrong: float, low: float, high: float) -> None:
    """Perfect confidences, the share of right words, and certainty: 1, 0, and far below 0, but finite."""
    right = [[True, True, True, False, False]] * 20
    found = normalised_cross_entropy(right, [[of_right if y else of_wrong for y in ys] for ys in right], resamples=100)
    assert low <= found.value <= high + 1e-9
    assert found.low <= found.value + 1e-9
    assert found.high >= found.value - 1e-9


@pytest.mark.parametrize("right", [[[True], [True]], [[False], [False]], [[True, False]], [[]]])
def test_no_entropy(right: list[list[bool]]) -> None:
    with pytest.raises(ValueError, match="requires two utterances, and words that are right and words that are wrong"):
        normalised_cross_entropy(right, [[0.5] * len(row) for row in right])


def test_reliability() -> None:
    """Confidences that are the probability to be right are within the intervals of nearly all bins."""
    rng = np.random.default_rng(0)
    confidences = rng.uniform(size=4000)
    bins = reliability(rng.uniform(size=4000) < confidences, confidences)
    assert [b.words for b in bins] == [400] * 10
    assert sum(b.low <= b.confidence <= b.high for b in bins) >= 8
    assert [b.confidence for b in bins] == sorted(b.confidence for b in bins)
    assert [(b.low, b.high) for b in reliability([True], [0.3])] == [pytest.approx((0.2065, 1.0), abs=1e-3)]
