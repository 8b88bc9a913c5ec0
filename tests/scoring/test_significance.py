import math

import numpy as np
import pytest
from numpy.typing import NDArray

from khasr.scoring.significance import LEAST_GROUPS, matched_pairs, paired_difference, rate_interval


def utterances(
    rng: np.random.Generator, count: int, rate: float, spread: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Words and word errors of utterances of 4 to 14 words, with error rates that vary around the mean."""
    words = rng.integers(4, 15, count)
    own = np.clip(rate + rng.normal(0, spread, count), 0, 1)
    return rng.binomial(words, own), words


def test_coverage() -> None:
    rng = np.random.default_rng(0)
    trials = 600
    held = 0
    for trial in range(trials):
        edits, words = utterances(rng, 100, 0.3, spread=0.1)
        low, high = rate_interval(edits, words, resamples=1000, seed=trial)[1:]
        held += low <= 0.3 <= high
    # Within three standard errors of 0.95.
    assert abs(held / trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / trials)


@pytest.mark.parametrize("over", ["speakers", "utterances"])
def test_coverage_with_speakers(over: str) -> None:
    rng = np.random.default_rng(1)
    trials, speakers, each = 400, 10, 20
    groups = np.repeat(np.arange(speakers), each)
    held = 0
    for trial in range(trials):
        own = np.clip(0.3 + rng.normal(0, 0.1, speakers), 0.01, 0.99)
        words = rng.integers(4, 15, len(groups))
        edits = rng.binomial(words, own[groups])
        by = groups.tolist() if over == "speakers" else None
        low, high = rate_interval(edits, words, groups=by, resamples=1000, seed=trial)[1:]
        held += low <= 0.3 <= high
    assert held / trials > 0.92 if over == "speakers" else held / trials < 0.7


def test_too_few_speakers() -> None:
    edits, words = utterances(np.random.default_rng(2), 70, 0.3)
    groups = [i % (LEAST_GROUPS - 1) for i in range(70)]
    with pytest.raises(ValueError, match=r"7 groups are too few .*at least 8"):
        rate_interval(edits, words, groups=groups)
    rate_interval(edits, words, groups=[i % LEAST_GROUPS for i in range(70)])


@pytest.mark.parametrize(("edits", "words", "message"), [([1], [3], "1 utterance"), ([0, 0], [0, 0], "No error rate")])
def test_no_interval(edits: list[int], words: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rate_interval(edits, words)


def test_rate_interval() -> None:
    edits, words = utterances(np.random.default_rng(3), 50, 0.2)
    found = rate_interval(edits, words, seed=4)
    assert found == rate_interval(edits, words, seed=4)
    assert found.value == edits.sum() / words.sum()
    assert found.low < found.value < found.high
    # Ratio of sums: its standard error by the delta method.
    residuals = edits - found.value * words
    error = math.sqrt((residuals**2).sum() * 50 / 49) / words.sum()
    assert found.high - found.low == pytest.approx(2 * 2.0096 * error, rel=0.1)


def test_groups_of_one() -> None:
    edits, words = utterances(np.random.default_rng(5), 30, 0.2)
    assert rate_interval(edits, words, groups=range(30)) == rate_interval(edits, words)


def test_resampling_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    edits, words = utterances(np.random.default_rng(6), 40, 0.2)
    whole = rate_interval(edits, words, resamples=1000)
    monkeypatch.setattr("khasr.scoring.significance._HELD", 40 * 300)
    assert rate_interval(edits, words, resamples=1000) == pytest.approx(whole, abs=1e-9)


# ---------------------------------------------------------------------------------------------------- differences


def false_alarms(test: str, trials: int) -> float:
    """The fraction of p-values below 0.05 for two equally good systems with independent errors."""
    rng = np.random.default_rng(7)
    below = 0
    for trial in range(trials):
        words = rng.integers(4, 15, 150)
        hard = np.clip(0.3 + rng.normal(0, 0.15, 150), 0, 1)
        one, other = rng.binomial(words, hard), rng.binomial(words, hard)
        if test == "bootstrap":
            below += paired_difference(one, other, words, resamples=1000, seed=trial).p < 0.05
        else:
            below += matched_pairs(one, other).p < 0.05
    return below / trials


@pytest.mark.parametrize("test", ["bootstrap", "matched pairs"])
def test_false_alarms(test: str) -> None:
    trials = 600
    assert abs(false_alarms(test, trials) - 0.05) < 3 * math.sqrt(0.05 * 0.95 / trials)


def test_difference() -> None:
    rng = np.random.default_rng(8)
    words = rng.integers(4, 15, 300)
    better, worse = rng.binomial(words, 0.2), rng.binomial(words, 0.3)
    found = paired_difference(better, worse, words)
    assert found.high < 0
    assert found.p < 0.001
    assert found.value == pytest.approx((better.sum() - worse.sum()) / words.sum())
    assert matched_pairs(better, worse).z < -3
    swapped = paired_difference(worse, better, words)
    assert swapped.value == -found.value
    assert swapped.p == pytest.approx(found.p, abs=2e-3)


def test_paired_is_tighter() -> None:
    rng = np.random.default_rng(9)
    words = np.full(200, 10)
    hard = rng.integers(0, 9, 200)
    paired = paired_difference(hard + (rng.random(200) < 0.2), hard, words)
    alone = rate_interval(hard, words)
    assert paired.high - paired.low < (alone.high - alone.low) / 4
    assert paired.p < 0.001


def test_equal_systems() -> None:
    edits, words = utterances(np.random.default_rng(10), 30, 0.2)
    assert paired_difference(edits, edits, words) == (0.0, 0.0, 0.0, 1.0)
    assert matched_pairs(edits, edits) == (0.0, 0.0, 1.0, 30)


def test_matched_pairs() -> None:
    # The paired t statistic and the normal tail that scipy 1.17 gives for these (ttest_rel, norm.sf).
    found = matched_pairs([3, 1, 0, 2, 5, 1, 0, 4], [1, 1, 1, 0, 3, 0, 0, 1])
    assert found.mean == 1.125
    assert found.z == pytest.approx(2.3462426)
    assert found.p == pytest.approx(0.01896376)


def test_few_segments() -> None:
    assert matched_pairs([1], [0]).p == 1
    assert matched_pairs([1, 1, 1], [0, 0, 0]).p == 0.25
