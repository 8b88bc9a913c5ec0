"""Statistics of runs, against brute force, textbooks, scipy and simulations."""

import itertools

import numpy as np
import pytest
from scipy import stats

from khasr.study.statistics import (
    best_of_n_band,
    best_of_n_difference,
    expected_best,
    failures_p,
    holm,
    interaction_p,
    learning_p,
    least_squares,
    means_test,
    seed_noise,
    seeds_needed,
    t_estimate,
    utterances_needed,
)

RNG = np.random.default_rng


def test_expected_best() -> None:
    """It is the mean over all subsets of their lowest score."""
    scores = RNG(0).random(8)
    for n in range(1, 9):
        assert expected_best(scores)[n - 1] == pytest.approx(
            np.mean([min(c) for c in itertools.combinations(scores, n)])
        )


def test_expected_best_is_unbiased() -> None:
    """Drawing with replacement is not."""
    # Of uniform scores the lowest of n is 1 / (n + 1) on average.
    studies = RNG(1).random((4000, 10))
    unbiased = np.mean([expected_best(s)[4] for s in studies])
    ordered = np.sort(studies, axis=1)
    above = (1 - np.arange(11) / 10) ** 5
    with_replacement = (ordered * (above[:-1] - above[1:])).sum(axis=1).mean()  # Dodge et al. 2019
    assert unbiased == pytest.approx(1 / 6, abs=0.005)
    assert with_replacement > 1 / 6 + 0.01


def test_expected_best_of_many_trials() -> None:
    """Nothing overflows."""
    curve = expected_best(RNG(2).random(1500))
    assert np.isfinite(curve).all()
    assert (np.diff(curve) <= 1e-12).all()


def test_band() -> None:
    """The band contains the curve."""
    scores = RNG(3).random(20)
    low, high = np.quantile(best_of_n_band(scores, 500, RNG(0)), [0.025, 0.975], axis=0)
    assert (low <= expected_best(scores) + 1e-9).all()
    assert (expected_best(scores)[:10] <= high[:10]).all()


def test_best_of_n_difference() -> None:
    """It has its level and finds a difference."""
    cells = [str(i // 3) for i in range(18)]

    def p(shift: float, seed: int) -> float:
        rng = RNG(seed)
        settings = np.repeat(rng.normal(0.3, 0.05, 6), 3)
        small, large = (settings + rng.normal(0, 0.02, 18) for _ in range(2))
        return best_of_n_difference([(small, large + shift, cells, cells)], RNG(0), draws=199)[1].p

    assert 0 <= np.mean([p(0.0, seed) <= 0.05 for seed in range(150)]) <= 0.1
    assert p(0.1, 0) < 0.02


def test_best_of_n_with_unequal_noise() -> None:
    """The lowest of noisy runs is lower, which does not make the model better: 11 settings, 3 runs each, 60 studies."""
    cells, found = [str(i // 3) for i in range(33)], 0
    for seed in range(60):
        rng = RNG(seed)
        settings = np.repeat(rng.uniform(0.28, 0.32, 11), 3)
        small, large = (settings * np.exp(rng.normal(0, sd, 33) - sd**2 / 2) for sd in (0.03, 0.12))
        found += best_of_n_difference([(small, large, cells, cells)], RNG(0), draws=199)[1].p <= 0.05
    assert found <= 8  # 5 % and three standard errors; names exchanged alone find 54


def test_best_of_n_with_sampled_utterances() -> None:
    """The squared error of the utterances is added to the interval, and a small difference is no longer significant."""
    scores, cells = 0.3 + RNG(0).normal(0, 0.002, 12), [str(i // 3) for i in range(12)]
    without, within = (
        best_of_n_difference([(scores, scores + 0.01, cells, cells)], RNG(0), utterances=e**2)[1] for e in (0.0, 0.008)
    )
    assert without.p < 0.01
    assert within.p > 0.2
    assert within.high - within.value == pytest.approx(np.hypot(without.high - without.value, 1.96 * 0.008), rel=0.01)


def test_means_test() -> None:
    """With the same settings, differences are within settings: their spread is not noise. Otherwise it is."""
    settings, cells = np.repeat([0.1, 0.3, 0.5, 0.7], 3), [str(i // 3) for i in range(12)]
    small, large = (settings + RNG(seed).normal(0, 0.005, 12) for seed in (0, 1))
    difference, p = means_test([(small, large + 0.02, cells, cells)])
    assert difference == pytest.approx(0.02, abs=0.006)
    assert p < 0.001
    assert means_test([(small, large + 0.02, cells, ["x"] * 12)])[1] > 0.5
    assert means_test([(small, large + 0.02, cells, cells)], utterances=0.02**2)[1] > 0.2


def test_t_estimate() -> None:
    """It is Welch's test."""
    small, large = RNG(4).normal(0.30, 0.02, 5), RNG(5).normal(0.33, 0.01, 4)
    ours = t_estimate(large.mean() - small.mean(), [small.var(ddof=1) / 5, large.var(ddof=1) / 4], [4, 3])
    theirs = stats.ttest_ind(large, small, equal_var=False)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_noise() -> None:
    """Noise is pooled over settings; an unstable setting counts with its own."""
    cells = [level * np.exp(RNG(int(1000 * level)).normal(0, 0.05, 200)) for level in (0.2, 0.4, 0.8)]
    noise = seed_noise(cells)
    assert noise.share == pytest.approx(0.05, rel=0.1)
    assert noise.low < noise.share < noise.high < 0.06
    assert noise.df == 597
    assert noise.squared_error(np.array([0.2, 0.2])) == pytest.approx((noise.share * 0.2) ** 2 / 2)
    assert noise.squared_error(np.array([0.2, 0.6])) > 0.01
    assert seed_noise([np.array([0.3])]).df == 0


def test_seeds_needed() -> None:
    # Cohen 1988, table 2.4.1: d = 1 and d = 0.5, two-sided 5 %, power 80 %.
    assert seeds_needed(1, 1) == 17
    assert seeds_needed(1, 0.5) == 64
    assert seeds_needed(1, 0.01) is None


def test_utterances_needed() -> None:
    """That many utterances have the stated power."""
    rng = RNG(6)
    words = rng.integers(4, 12, 4000).astype(float)
    edits = rng.binomial(words.astype(int), 0.04) - rng.binomial(words.astype(int), 0.02).astype(float)
    needed = utterances_needed(edits, words, 0.02)
    assert needed is not None
    found = 0
    for seed in range(300):
        rows = RNG(seed).integers(0, 4000, needed)
        residual = edits[rows] - edits[rows].sum() / words[rows].sum() * words[rows]
        error = residual.std(ddof=1) / words[rows].mean() / np.sqrt(needed)
        found += abs(edits[rows].sum() / words[rows].sum()) / error > 1.96
    assert 0.72 <= found / 300 <= 0.88


def test_interaction_p() -> None:
    """It has its level and finds an interaction."""
    large = np.repeat([0.0, 1.0], 20)[:, None]
    setting = np.tile([0.0, 1.0], 20)[:, None]

    def p(effect: float, seed: int) -> float:
        rng = RNG(seed)
        scores = 0.3 * setting[:, 0] + effect * (setting * large)[:, 0] + rng.standard_t(3, 40) * 0.1
        return interaction_p(scores, setting, large, large * setting, RNG(0), draws=199)

    assert 0.01 <= np.mean([p(0.0, seed) <= 0.05 for seed in range(200)]) <= 0.09
    assert p(0.6, 0) < 0.02
    assert np.isnan(interaction_p(np.zeros(40), setting, large, large, RNG(0)))


def test_learning_p() -> None:
    """A setting at which both models fail is no difference between them, one at which one of them fails is."""
    values, large = np.repeat([0, 1], 40), np.tile([0.0, 1.0], 40)
    both_fail_there = (values == 0).astype(float)
    large_fails_there = 1 - values * large
    assert learning_p(both_fail_there, large, values, RNG(0)) > 0.9
    assert learning_p(large_fails_there, large, values, RNG(0)) < 0.001


@pytest.mark.parametrize("by_setting", [0.0, 0.3])
def test_learning_p_of_a_constant_difference(by_setting: float) -> None:
    """The large model fails a quarter more often at every value, whatever else the value does: level 5 %."""
    values, large = np.repeat([0, 1, 2], [54, 6, 6]), np.tile([0.0, 1.0], 33)
    found = 0
    for seed in range(200):
        failing = 0.25 * large + by_setting * (values == 1)
        learned = (RNG(seed).random(66) >= failing).astype(float)
        found += learning_p(learned, large, values, RNG(0), draws=399) <= 0.05
    assert found <= 17  # 5 % and two standard errors; names exchanged alone find 31 and 18


def test_failures_p() -> None:
    """It has its level, and a model that fails more often is found; settings at which both fail are no difference."""
    large, cells = np.tile([0.0, 1.0], 24), np.repeat([0, 1, 2], 16)
    assert failures_p(np.where(cells == 0, 0.0, 1.0), large, cells, RNG(0)) > 0.9
    learned = np.ones(48)
    learned[1::4] = 0.0  # the large model in 12 of 24 runs, the small one in none
    assert failures_p(learned, large, cells, RNG(0)) < 0.001
    null = [failures_p((RNG(s).random(48) > 0.2).astype(float), large, cells, RNG(0), draws=199) for s in range(150)]
    assert np.mean(np.array(null) <= 0.05) <= 0.1
    assert np.isnan(failures_p(np.ones(48), large, cells, RNG(0)))


def test_least_squares() -> None:
    """Columns may be linearly dependent."""
    x = np.repeat([0.0, 1.0], 10)
    scores = 0.3 + 0.1 * x + RNG(7).normal(0, 0.01, 20)
    once = least_squares(np.stack([np.ones(20), x], axis=1), scores)
    twice = least_squares(np.stack([np.ones(20), x, x], axis=1), scores)
    assert twice.df == once.df == 18
    assert twice.estimate(np.array([0, 1.0, 1.0])) == pytest.approx(once.estimate(np.array([0, 1.0])))


def test_holm() -> None:
    """Claims without a test are not counted."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    corrected = holm([0.01, float("nan"), 0.02])
    assert corrected[0] == pytest.approx(0.02)
    assert np.isnan(corrected[1])
