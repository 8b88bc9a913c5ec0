"""Statistics with runs as units: best of n trials, noise between seeds, effects of settings, corrected p-values.

Intervals over utterances and paired tests of two runs are in `khasr.scoring.significance`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its interval at LEVEL and the p-value of it being 0; nan where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


# ------------------------------------------------------------------------------------------------ best of n trials


def expected_best(scores: Sequence[float] | Array) -> Array:
    """The expected lowest score of n trials, for n from 1 to their number, without bias.

    The mean over all subsets of size n of their lowest score (Tang et al. 2020, "Showing Your Work Doesn't Always
    Work", eq. 4). Dodge et al. 2019 draw with replacement, which is biased upward for WER: their curve stays above it.
    """
    ordered = np.sort(np.asarray(scores, dtype=float))
    return np.asarray(_subset_weights(len(ordered)) @ ordered)


def _subset_weights(count: int) -> Array:
    """weights[n - 1, i]: the share of the subsets of size n whose lowest is the i-th lowest of all."""
    weights = np.zeros((count, count))
    for n in range(1, count + 1):
        share = n / count
        for i in range(count - n + 1):
            weights[n - 1, i] = share
            # C(count - i - 2, n - 1) / C(count - i - 1, n - 1), so that nothing overflows.
            left = count - i - 1
            share *= (left - n + 1) / left if left else 0.0
    return weights


def best_of_n_band(scores: Sequence[float] | Array, draws: int, rng: np.random.Generator) -> Array:
    """Curves of `expected_best` under resampling of the trials, (draws, trials).

    The band between their quantiles is a pointwise interval. It is too narrow for n near the number of trials, where a
    resampled minimum is seldom below the observed one.
    """
    ordered = np.asarray(scores, dtype=float)
    resampled = np.sort(rng.choice(ordered, (draws, len(ordered))), axis=1)
    return resampled @ _subset_weights(len(ordered)).T


Trials = tuple[Array, Array, list[str], list[str]]
"""Scores of the small model's trials and of the large one's, and the setting of each."""


def fair_trials(small: Array, large: Array) -> int:
    """Half the smaller number of trials, so that each estimate is a mean over many subsets and not a single run."""
    return max(1, min(len(small), len(large)) // 2)


def best_of_n_difference(
    strata: list[Trials], rng: np.random.Generator, draws: int = 1999, utterances: float = 0.0
) -> tuple[int, Estimate]:
    """Expected best of n = `fair_trials` trials, the large model's less the small one's, as a mean over strata.

    The interval is from resampling trials. p is the larger of two: from exchanging the models' names, within a setting
    where both models ran it equally often, else within the stratum; and from Welch's test of the trials' means
    (`means_test`), 1 where the means differ in the other direction. The lowest of n noisy runs is lower than the lowest
    of n less noisy ones with the same mean, so the first test alone would take noise for a better model.

    Args:
        utterances: squared error of a difference of the models from the utterances being a sample.

    Returns:
        The smallest n of a stratum, and the difference.
    """
    seen, resampled, exchanged = 0.0, np.zeros(draws), np.zeros(draws)
    for small, large, cells_small, cells_large in strata:
        n = fair_trials(small, large)
        weights_small, weights_large = (_subset_weights(len(x))[n - 1] for x in (small, large))

        def difference(s: Array, m: Array, a: Array = weights_small, b: Array = weights_large) -> Array:
            return np.asarray(np.sort(m, axis=-1) @ b - np.sort(s, axis=-1) @ a)

        seen += float(difference(small, large))
        resampled += difference(rng.choice(small, (draws, len(small))), rng.choice(large, (draws, len(large))))
        both = np.concatenate([small, large])
        matched = sorted(cells_small) == sorted(cells_large)
        cells = np.unique([*cells_small, *cells_large], return_inverse=True)[1] if matched else np.zeros(len(both))
        places = np.argsort(cells, kind="stable")
        shuffled = np.empty((draws, len(both)))
        shuffled[:, places] = both[np.argsort(rng.random((draws, len(both))) + cells, axis=1)]
        exchanged += difference(shuffled[:, : len(small)], shuffled[:, len(small) :])
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    p = (1 + np.sum(np.abs(exchanged) >= abs(seen) - 1e-12)) / (draws + 1)
    fewest = min(fair_trials(small, large) for small, large, _, _ in strata)
    count = len(strata)
    value, low, high = seen / count, float(low) / count, float(high) / count
    # The utterances are the same in each resampling and exchange, so their part of the error is added here.
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) ** 2 * utterances
    low, high = (value - math.hypot(value - low, math.sqrt(reach)), value + math.hypot(high - value, math.sqrt(reach)))
    error = math.sqrt(float(exchanged.var()) / count**2 + utterances)
    widened = float(2 * stats.norm.sf(abs(value) / error)) if utterances > 0 else 0.0
    mean, p_mean = means_test(strata, utterances)
    if mean * value < 0:
        p_mean = 1.0
    return fewest, Estimate(value, low, high, max(float(p), widened, p_mean))


def means_test(strata: list[Trials], utterances: float = 0.0) -> tuple[float, float]:
    """The difference of the means of the trials, large minus small, and p of it being 0 (Welch 1947).

    Where the models ran the same settings equally often, differences are taken within settings, with each model's
    noise from its repeated runs; without repeated runs the settings' differences are the sample.
    """
    small, large = (np.concatenate([s[i] for s in strata]) for i in (0, 1))
    cells_small, cells_large = ([(k, c) for k, s in enumerate(strata) for c in s[i]] for i in (2, 3))
    if sorted(cells_small) != sorted(cells_large):
        errors = [float(x.var(ddof=1)) / len(x) if len(x) > 1 else math.nan for x in (small, large)]
        found = t_estimate(
            float(large.mean() - small.mean()), [*errors, utterances], [len(small) - 1.0, len(large) - 1.0, 1e6]
        )
        return found.value, 1.0 if math.isnan(found.p) else found.p
    keys = sorted(set(cells_small))
    groups = [
        [scores[[c == key for c in cells]] for key in keys]
        for scores, cells in ((small, cells_small), (large, cells_large))
    ]
    differences = np.array([b.mean() - a.mean() for a, b in zip(*groups, strict=True)])
    dfs = [float(sum(len(g) - 1 for g in side)) for side in groups]
    if min(dfs) < 2:
        if len(keys) < 3:
            return float(differences.mean()), 1.0
        errors, dfs = [float(differences.var(ddof=1)) / len(keys)], [len(keys) - 1.0]
    else:
        errors = []
        for side, df in zip(groups, dfs, strict=True):
            squares = sum(float(((g / g.mean() - 1) ** 2).sum()) for g in side) / df
            errors.append(squares * sum(float(g.mean()) ** 2 / len(g) for g in side) / len(keys) ** 2)
    found = t_estimate(float(differences.mean()), [*errors, utterances], [*dfs, 1e6])
    return found.value, 1.0 if math.isnan(found.p) else found.p


# --------------------------------------------------------------------------------------------- noise between seeds


@dataclass(frozen=True)
class Noise:
    """How much runs of one setting differ by their seeds: standard deviation as a share of the WER.

    Attributes:
        share: pooled over all settings with two runs or more; nan without any.
        df: degrees of freedom.
        high: upper end of its interval at LEVEL.
    """

    share: float
    df: int
    low: float
    high: float

    def squared_error(self, scores: Array) -> float:
        """Squared standard error of the mean of runs of one setting.

        From the pooled noise or the setting's own, whichever is larger: a setting's own noise is uncertain with few
        seeds, and pooled noise would hide a setting that is less stable than the rest.
        """
        mean = float(np.mean(scores))
        own = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
        return float(max(self.share * mean, own) ** 2 / len(scores))


def seed_noise(cells: Sequence[Array]) -> Noise:
    """The noise between runs of the same setting, pooled over settings, on the scale of log WER."""
    logs = [np.log(np.maximum(cell, 1e-4)) for cell in cells if len(cell) > 1]
    df = sum(len(cell) - 1 for cell in logs)
    if not df:
        return Noise(math.nan, 0, math.nan, math.nan)
    squares = sum(float(((cell - cell.mean()) ** 2).sum()) for cell in logs)
    low, high = (math.sqrt(squares / stats.chi2.ppf(q, df)) for q in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    return Noise(math.sqrt(squares / df), df, low, high)


def t_estimate(value: float, squared_errors: Sequence[float], dfs: Sequence[float]) -> Estimate:
    """A difference with its t interval and p, from independent parts of its variance (Welch 1947)."""
    variance = sum(squared_errors)
    if not variance > 0:
        return Estimate(value)
    df = variance**2 / sum(v**2 / df for v, df in zip(squared_errors, dfs, strict=True) if v > 0)
    error = math.sqrt(variance)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
    return Estimate(value, value - reach, value + reach, float(2 * stats.t.sf(abs(value) / error, df)))


def seeds_needed(sd: float, difference: float, power: float = 0.8) -> int | None:
    """Seeds for each model to detect that difference of means with a two-sided t test; None above 1,000."""
    for n in range(2, 1001):
        df = 2 * n - 2
        critical = stats.t.ppf((1 + LEVEL) / 2, df)
        if 1 - stats.nct.cdf(critical, df, difference / (sd * math.sqrt(2 / n))) >= power:
            return n
    return None


def utterances_needed(edit_differences: Array, words: Array, difference: float, power: float = 0.8) -> int | None:
    """Utterances to detect that difference of WER between two systems by a paired test, from a pair that was scored.

    The variance is that of a ratio (delta method): the difference of edits minus the WER difference times words.
    """
    rate = edit_differences.sum() / words.sum()
    residual = edit_differences - rate * words
    sd = float(residual.std(ddof=1)) / float(words.mean()) if len(words) > 1 else 0.0
    if sd == 0:
        return None
    reach = stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(power)
    return math.ceil(float(reach * sd / difference) ** 2)


# --------------------------------------------------------------------------------------------- effects of settings


def interaction_p(
    scores: Array, common: Array, others: Array, tested: Array, rng: np.random.Generator, draws: int = 4999
) -> float:
    """p of the tested columns explaining nothing beyond common and others, by permuting residuals.

    Freedman and Lane 1983: residuals of the model without the tested columns are permuted and added back, and the F
    statistic is computed again; no normality is assumed. nan with too few degrees of freedom, or where the tested
    columns are in the span of the others.
    """
    reduced = _basis(np.hstack([np.ones((len(scores), 1)), common, others]))
    full = _basis(np.hstack([reduced, tested]))
    extra, left = full.shape[1] - reduced.shape[1], len(scores) - full.shape[1]
    if extra < 1 or left < 4:
        return math.nan
    fitted = reduced @ (reduced.T @ scores)
    residuals = scores - fitted
    permuted = rng.permuted(np.repeat(residuals[:, None], draws + 1, axis=1), axis=0)
    permuted[:, 0] = residuals
    permuted += fitted[:, None]

    def left_over(basis: Array) -> Array:
        return np.asarray(((permuted - basis @ (basis.T @ permuted)) ** 2).sum(axis=0))

    without, within = left_over(reduced), left_over(full)
    if within[0] <= 1e-18 * max(1.0, float(np.sum(scores**2))):
        return math.nan
    f = (without - within) / within
    return float((1 + np.sum(f[1:] >= f[0] * (1 - 1e-9))) / (draws + 1))


def learning_p(learned: Array, large: Array, values: Array, rng: np.random.Generator, draws: int = 4999) -> float:
    """p of a setting not affecting whether runs learn differently in the two models.

    The statistic is the variation over the values of the difference between the models' shares of runs that learned,
    weighted by their runs. p is the larger of two exact permutation tests: the models' names are exchanged within each
    value (only the setting matters), and the values are exchanged within each model (only the model matters, which may
    then fail more often by any constant difference). nan where the models share fewer than two values.
    """
    levels = [v for v in np.unique(values) if 0 < large[values == v].mean() < 1]
    if len(levels) < 2:
        return math.nan
    of_level = [[(values == v) & (large == m) for m in (0, 1)] for v in levels]
    runs = np.array([[rows.sum() for rows in sides] for sides in of_level])
    count = np.array([[int(learned[rows].sum()) for rows in sides] for sides in of_level])
    weight = runs.prod(axis=1) / runs.sum(axis=1)

    def variation(counts: NDArray[np.int64]) -> Array:
        shares = counts / runs
        differences = shares[..., 1] - shares[..., 0]
        mean = differences @ weight / weight.sum()
        return np.asarray((differences - mean[..., None]) ** 2 @ weight)

    in_level = count.sum(axis=1)
    exchanged = rng.hypergeometric(in_level, runs.sum(axis=1) - in_level, runs[:, 1], size=(draws, len(levels)))
    by_setting = np.stack([in_level - exchanged, exchanged], axis=2)
    by_model = np.stack(
        [rng.multivariate_hypergeometric(runs[:, m], int(count[:, m].sum()), size=draws) for m in (0, 1)], axis=2
    )
    seen = variation(count[None])[0] - 1e-9
    return max(float((1 + np.sum(variation(c) >= seen)) / (draws + 1)) for c in (by_setting, by_model))


def failures_p(learned: Array, large: Array, strata: Array, rng: np.random.Generator, draws: int = 4999) -> float:
    """p of the models' runs learning equally often, by exchanging the models' names within strata.

    nan where nothing failed, nothing learned, or no stratum has runs of both models.
    """
    mixed = [s for s in np.unique(strata) if 0 < large[strata == s].mean() < 1]
    if not mixed or learned.min() == learned.max():
        return math.nan
    statistic = np.zeros(draws + 1)
    for s in mixed:
        at, ended = large[strata == s], learned[strata == s]
        names = at[np.argsort(rng.random((draws, len(at))), axis=1)]
        expected = ended.mean() * at.sum()
        statistic += np.concatenate([[at @ ended], names @ ended]) - expected
    return float((1 + np.sum(np.abs(statistic[1:]) >= abs(statistic[0]) - 1e-9)) / (draws + 1))


def _basis(columns: Array) -> Array:
    """An orthonormal basis of what the columns span."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * sizes[0]])


@dataclass(frozen=True)
class Fit:
    """A linear model fitted by least squares.

    Attributes:
        covariance: of the coefficients.
        df: residual degrees of freedom.
    """

    coefficients: Array
    covariance: Array
    df: int

    def estimate(self, contrast: Array) -> tuple[float, float]:
        """A contrast of the coefficients, and its squared error."""
        return float(contrast @ self.coefficients), float(contrast @ self.covariance @ contrast)


def least_squares(columns: Array, scores: Array) -> Fit:
    """Coefficients with their covariance; by the pseudo-inverse, so that columns may be linearly dependent."""
    inverse = np.linalg.pinv(columns.T @ columns, rcond=1e-10, hermitian=True)
    coefficients = inverse @ columns.T @ scores
    df = len(scores) - int(np.linalg.matrix_rank(columns))
    residual = float(((scores - columns @ coefficients) ** 2).sum())
    return Fit(coefficients, inverse * (residual / df if df > 0 else math.nan), df)


# --------------------------------------------------------------------------------------------------------- claims


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979); nan (no test) stays nan and is not counted."""
    corrected = [math.nan] * len(ps)
    tested = sorted((i for i, p in enumerate(ps) if p == p), key=lambda i: ps[i])
    highest = 0.0
    for rank, i in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * ps[i]))
        corrected[i] = highest
    return corrected
