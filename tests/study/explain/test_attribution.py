"""Shapley attribution of planted differences."""

import itertools
import math

import numpy as np
import pytest

from khasr.study.explain.attribution import (
    Replicates,
    antithetic_orders,
    bounds,
    estimate,
    estimate_each_seed,
    fieller,
    first_weights,
    gap_weights,
    last_weights,
    pair_weights,
    path_weights,
    shapley_weights,
)


def planted(k: int, seed: int = 0) -> np.ndarray:
    """A WER for each cell, with interactions of every order."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, 2**k)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6])
def test_shapley_sums_to_gap(k: int) -> None:
    values = planted(k)
    assert (shapley_weights(k) @ values).sum() == pytest.approx(values[-1] - values[0], abs=1e-12)


def test_shapley_is_mean_over_orders() -> None:
    values, orders = planted(4), list(itertools.permutations(range(4)))
    np.testing.assert_allclose(shapley_weights(4) @ values, path_weights(orders) @ values)


def test_additive_effects() -> None:
    """Without interactions every order finds the same effects, and dividends are 0."""
    main = np.array([0.05, -0.02, 0.1])
    values = np.array([0.3 + sum(main[i] for i in range(3) if cell >> i & 1) for cell in range(8)])
    for weights in (shapley_weights(3), first_weights(3), last_weights(3)):
        np.testing.assert_allclose(weights @ values, main)
    np.testing.assert_allclose(pair_weights(3) @ values, 0, atol=1e-12)


def test_planted_interaction() -> None:
    """A pair's effect is shared equally, first and last changes see none or all of it, the dividend is the effect."""
    values = np.array([0.3 + 0.2 * (cell & 3 == 3) for cell in range(8)])
    np.testing.assert_allclose(shapley_weights(3) @ values, [0.1, 0.1, 0], atol=1e-12)
    np.testing.assert_allclose(first_weights(3) @ values, 0, atol=1e-12)
    np.testing.assert_allclose(last_weights(3) @ values, [0.2, 0.2, 0], atol=1e-12)
    np.testing.assert_allclose(pair_weights(3) @ values, [0.2, 0, 0], atol=1e-12)


@pytest.mark.parametrize(("k", "factor"), [(2, 1), (3, 0.556), (4, 0.333), (5, 0.213), (6, 0.144)])
def test_variance_of_shapley(k: int, factor: float) -> None:
    """In units of sigma^2 / r, as in the closed form."""
    assert (shapley_weights(k) ** 2).sum(axis=1) == pytest.approx(factor, abs=6e-4)


def test_antithetic_orders() -> None:
    """They are unbiased and sum to the gap."""
    values = planted(6)
    pairs = antithetic_orders(6, 4000, seed=1)
    estimates = np.array([path_weights(pair) @ values for pair in pairs])
    np.testing.assert_allclose(estimates.sum(axis=1), values[-1] - values[0])
    np.testing.assert_allclose(estimates.mean(axis=0), shapley_weights(6) @ values, atol=0.01)


def simulated(
    rng: np.random.Generator, seeds: int = 6, noise: float = 0.05, failing: float = 0.0
) -> tuple[Replicates, np.ndarray]:
    """Replicates of 3 factors over 120 utterances, factor 0 failing at that rate; the true WER of each cell."""
    cells = np.arange(8)
    wer = 0.3 + 0.06 * (cells & 1) - 0.03 * (cells >> 1 & 1) - 0.04 * (cells & 3 == 3)
    rate_of_failure = failing * (cells & 1)
    words = rng.integers(3, 9, 120).astype(float)
    hard = rng.gamma(8, 1 / 8, 120)
    own = 1 + 0.15 * rng.normal(size=(8, 120))
    rates = wer[:, None] * hard * own * rng.normal(1, noise, (seeds, 8, 1))
    edits = rng.binomial(words.astype(int), np.clip(rates, 0, 1)).astype(float)
    edits[rng.random((seeds, 8)) < rate_of_failure] = words
    truth = (1 - rate_of_failure) * wer + rate_of_failure
    return Replicates(edits.sum(axis=2) / words.sum(), edits, words), truth


@pytest.mark.parametrize("failing", [0.0, 0.3])
def test_coverage(failing: float) -> None:
    """95 % intervals of the gap and the Shapley values contain the truth that often (200 simulations: 90 to 99.5 %)."""
    rng = np.random.default_rng(3)
    weights = np.vstack([gap_weights(3), shapley_weights(3)])
    hits = np.zeros(4)
    for _ in range(200):
        runs, truth = simulated(rng, failing=failing)
        low, high = estimate(weights, runs).intervals.T
        hits += (low <= weights @ truth) & (weights @ truth <= high)
    assert np.all((hits / 200 > 0.9) & (hits / 200 < 0.995)), hits / 200


def test_utterances_widen_the_interval() -> None:
    """With almost no noise between seeds, the sampling of utterances remains in the interval."""
    runs, _ = simulated(np.random.default_rng(0), noise=0.001)
    without = estimate(gap_weights(3), Replicates(runs.scores))
    both = estimate(gap_weights(3), runs)
    assert both.errors[0] > 1.2 * without.errors[0]
    assert both.seed_errors[0] == pytest.approx(without.errors[0])


def test_speakers_are_resampled_whole() -> None:
    """Similar utterances of a speaker are not independent: with 8 speakers or more the interval is wider."""
    rng = np.random.default_rng(0)
    speaker = np.arange(120) % 10
    effect = rng.normal(0, 1.0, 10)[speaker]
    words = np.full(120, 6.0)
    edits = np.stack([np.full(120, 2.0), 2 + effect])[None] + rng.normal(0, 0.05, (4, 2, 120))
    scores = edits.sum(axis=2) / words.sum()
    alone = estimate(gap_weights(1), Replicates(scores, edits, words))
    grouped = estimate(gap_weights(1), Replicates(scores, edits, words, [f"s{s}" for s in speaker]))
    assert grouped.errors[0] > 2 * alone.errors[0]


def test_seeds_without_effect_give_no_interval() -> None:
    runs = Replicates(np.tile([0.3, 0.4], (4, 1)))
    for found in (estimate(gap_weights(1), runs), estimate_each_seed(gap_weights(1), runs)):
        assert found.values[0] == pytest.approx(0.1)
        assert np.isnan(found.intervals).all()


def test_each_seed_with_its_own_orders() -> None:
    """Missing cells do not count where their weight is 0."""
    values = planted(3)
    orders = [[(0, 1, 2), (2, 1, 0)], [(1, 2, 0), (0, 2, 1)]]
    weights = np.stack([path_weights(pair) for pair in orders])
    scores = np.where(np.abs(weights).sum(axis=1) > 0, values, np.nan)
    found = estimate_each_seed(weights, Replicates(scores))
    assert found.values.sum() == pytest.approx(values[-1] - values[0])


def test_fieller() -> None:
    covariance = np.array([[1e-4, 5e-5], [5e-5, 1e-4]])
    interval = fieller(0.1, 0.2, covariance, df=30)
    assert interval is not None
    low, high = interval
    assert low < 0.5 < high
    assert fieller(0.1, 0.01, covariance, df=30) is None


def test_bounds_of_cells_that_cannot_run() -> None:
    """Each missing cell may have any WER from 0 to 1; other cells do not widen the bounds."""
    values = planted(2)
    missing = values.copy()
    missing[2] = math.nan
    weights = shapley_weights(2)
    low, high = bounds(weights, missing)
    np.testing.assert_allclose(high - low, np.abs(weights[:, 2]))
    assert np.all((low <= weights @ values) & (weights @ values <= high))


def test_detectable_effect() -> None:
    """Four times the seeds detect half the effect, about."""
    rng = np.random.default_rng(0)
    few, many = (estimate(gap_weights(3), Replicates(rng.normal(0.3, 0.02, (r, 8)))) for r in (5, 20))
    assert 1.6 < few.detectable()[0] / many.detectable()[0] < 2.6
