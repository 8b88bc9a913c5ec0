"""How far an error rate, or the difference of two, can be trusted: the only bootstrap and paired test in khasr.

Rates are corpus level (all edits over all reference units), so what is resampled is the pair (edits, units) of an
utterance, or of a group of utterances that are not independent, such as a speaker's.
"""

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_GROUPS = 8


# Counts of resampled utterances held at once: 64 MiB of float64.
_HELD = 2**23


class Interval(NamedTuple):
    """A rate or a difference of rates, and its interval; fractions."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """The rate of one system minus that of another, its interval, and a two-sided p-value against no difference."""

    value: float
    low: float
    high: float
    p: float


class MatchedPairs(NamedTuple):
    """Mean of the errors of one system minus those of another in a segment, its z, two-sided p, and the segments."""

    mean: float
    z: float
    p: float
    segments: int


def rate_interval(
    edits: ArrayLike,
    units: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The corpus-level rate, sum(edits) / sum(units), with its bootstrap interval (Bisani and Ney 2004).

    The interval is the expanded percentile one (Hesterberg 2015, sec. 5.2), which corrects the percentile interval's
    being too narrow where there are few utterances or groups.

    Args:
        edits: (utterances,), those of one kind or of all.
        units: (utterances,), the reference's words or characters.
        groups: each utterance's group; whole groups are drawn then, not utterances.
        level: share of intervals that hold the true rate.

    Raises:
        ValueError: no reference units, a single utterance, or fewer groups than LEAST_GROUPS.
    """
    columns, drawn = _grouped([edits, units], groups)
    sums = _resampled_sums(columns, resamples, seed)
    rates = _rates(sums[:, 0], sums[:, 1])
    low, high = _expanded_percentiles(rates, drawn, level)
    return Interval(float(columns[:, 0].sum() / columns[:, 1].sum()), low, high)


def paired_difference(
    edits: ArrayLike,
    edits_against: ArrayLike,
    units: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """The rate of a system minus that of another on the same utterances, with a paired bootstrap's interval and p.

    Both systems' edits of an utterance are drawn together, so what makes an utterance hard for both does not blur the
    difference (Bisani and Ney 2004, sec. 3). p is the share of resampled differences that are at least as far from
    the one found as that is from 0, widened as the interval is.

    Args:
        edits: (utterances,), of the one system.
        edits_against: (utterances,), of the other.
        units: (utterances,), of the reference that they share.
        groups, level: as in `rate_interval`.

    Raises:
        ValueError: as `rate_interval`.
    """
    columns, drawn = _grouped([edits, edits_against, units], groups)
    value = float((columns[:, 0].sum() - columns[:, 1].sum()) / columns[:, 2].sum())
    sums = _resampled_sums(columns, resamples, seed)
    differences = _rates(sums[:, 0] - sums[:, 1], sums[:, 2])
    low, high = _expanded_percentiles(differences, drawn, level)
    widened = np.abs(differences - value) * _expansion(drawn, level)
    # A hair below, so that equal systems, whose differences are all 0, give 1; 1 + as in any Monte Carlo test.
    at_least = int((widened >= abs(value) * (1 - 1e-9)).sum())
    return Difference(value, low, high, (1 + at_least) / (1 + len(differences)))


def matched_pairs(errors: ArrayLike, errors_against: ArrayLike) -> MatchedPairs:
    """NIST's matched-pairs test, MAPSSWE: whether two systems make as many errors in a segment (Gillick and Cox 1989).

    Args:
        errors: (segments,), those of one system in each segment of `khasr.scoring.alignments.error_segments`.
        errors_against: (segments,), those of the other in the same segments.

    Returns:
        z is the mean difference over its standard error, p that of the normal distribution, two-sided, as NIST's
        scoring toolkit has it: to be believed from about 50 segments on. Systems that never differ have z 0 and p 1.
    """
    differences = np.asarray(errors, np.float64) - np.asarray(errors_against, np.float64)
    count = len(differences)
    if not differences.any():
        return MatchedPairs(0.0, 0.0, 1.0, count)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    if deviation == 0:
        # The same difference in each of a few segments: no spread to go by, so their signs are all that is tested.
        return MatchedPairs(mean, math.copysign(math.inf, mean), 2.0 ** (1 - count), count)
    z = mean * math.sqrt(count) / deviation
    return MatchedPairs(mean, z, math.erfc(abs(z) / math.sqrt(2)), count)


def _grouped(columns: Sequence[ArrayLike], groups: Sequence[Hashable] | None) -> tuple[NDArray[np.float64], int]:
    """The columns side by side, summed over each group, and the count of rows; the last column holds the units."""
    table = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    if table[:, -1].sum() <= 0:
        raise ValueError(f"{len(table)} utterances without a reference unit: there is no rate.")
    if groups is not None:
        number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        if len(number) < LEAST_GROUPS:
            raise ValueError(
                f"{len(number)} groups are too few for an interval over groups: {LEAST_GROUPS} are the least, since "
                "the spread between groups is estimated from them alone. Speaker folds (cross-validation over "
                "speakers) score every speaker."
            )
        summed = np.zeros((len(number), table.shape[1]))
        np.add.at(summed, [number[group] for group in groups], table)
        table = summed
    if len(table) < 2:
        raise ValueError("1 utterance is too few for an interval: 2 are the least.")
    return table, len(table)


def _resampled_sums(table: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Column sums of as many rows drawn with replacement, (resamples, columns)."""
    rng = np.random.default_rng(seed)
    rows = len(table)
    sums = []
    step = max(1, _HELD // rows)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.integers(0, rows, (count, rows)) + np.arange(count)[:, None] * rows
        # How often each row was drawn, times its columns: one matrix product for all resamples.
        times = np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows)
        sums.append(times.astype(np.float64) @ table)
    return np.concatenate(sums)


def _rates(edits: NDArray[np.float64], units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates of the resamples that drew a reference unit."""
    some = units > 0
    return edits[some] / units[some]


def _expansion(count: int, level: float) -> float:
    """How much wider a t interval with the unbiased spread is than the percentile bootstrap's of as many rows."""
    normal = NormalDist().inv_cdf((1 + level) / 2)
    return math.sqrt(count / (count - 1)) * _student_quantile((1 + level) / 2, count - 1) / normal


def _expanded_percentiles(values: NDArray[np.float64], count: int, level: float) -> tuple[float, float]:
    normal = NormalDist()
    tail = normal.cdf(-normal.inv_cdf((1 + level) / 2) * _expansion(count, level))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _student_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's t (Abramowitz and Stegun 1964, 26.7.5); right to 0.1 % from 4 degrees of freedom on."""
    x = NormalDist().inv_cdf(p)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return math.fsum([x, *(term / freedom**power for power, term in enumerate(terms, 1))])
