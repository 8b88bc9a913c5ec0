"""Confidence intervals of error rates and tests of their differences: bootstrap and matched pairs.

Rates are corpus level (all edits / all reference units), so the pairs (edits, units) of utterances are resampled, or of
groups of utterances that are not independent, such as those of one speaker.
"""

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Fewest groups (speakers) for an interval over groups.
LEAST_GROUPS = 8

# Numbers of resampled utterances in memory at once: 64 MiB of float64.
_HELD = 2**23


class Interval(NamedTuple):
    """A rate or a difference of rates with its interval, as fractions."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """The rate of a system minus that of a second one, its interval, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


class MatchedPairs(NamedTuple):
    """Mean difference of two systems' errors per segment, its z and two-sided p, and the number of segments."""

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

    The interval is the expanded percentile interval (Hesterberg 2015, sec. 5.2): percentile intervals are too narrow
    with few utterances or groups.

    Args:
        edits: (utterances,), of one kind or of all kinds.
        units: (utterances,), words or characters of the reference.
        groups: (utterances,), the group of each utterance; if given, whole groups are resampled.
        level: share of intervals that contain the true rate.

    Raises:
        ValueError: no reference units, a single utterance, or fewer than LEAST_GROUPS groups.
    """
    columns, drawn = _grouped([edits, units], groups)
    sums = resampled_sums(columns, resamples, seed)
    rates = _rates(sums[:, 0], sums[:, 1])
    low, high = expanded_percentiles(rates, drawn, level)
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
    """The rate of a system minus that of a second one on the same utterances: paired bootstrap interval and p-value.

    Both systems' edits of an utterance are resampled together, so utterances that are hard for both do not widen the
    interval (Bisani and Ney 2004, sec. 3). p is the share of resampled differences, expanded like the interval, whose
    distance from the observed difference is at least that of the observed difference from 0.

    Args:
        edits: (utterances,), of the first system.
        edits_against: (utterances,), of the second.
        units: (utterances,), of the common reference.
        groups, level: as in `rate_interval`.

    Raises:
        ValueError: as in `rate_interval`.
    """
    columns, drawn = _grouped([edits, edits_against, units], groups)
    value = float((columns[:, 0].sum() - columns[:, 1].sum()) / columns[:, 2].sum())
    sums = resampled_sums(columns, resamples, seed)
    differences = _rates(sums[:, 0] - sums[:, 1], sums[:, 2])
    low, high = expanded_percentiles(differences, drawn, level)
    widened = np.abs(differences - value) * _expansion(drawn, level)
    # Slightly below, so that equal systems, whose differences are all 0, give 1. 1 + as in any Monte Carlo test.
    at_least = int((widened >= abs(value) * (1 - 1e-9)).sum())
    return Difference(value, low, high, (1 + at_least) / (1 + len(differences)))


def matched_pairs(errors: ArrayLike, errors_against: ArrayLike) -> MatchedPairs:
    """NIST's matched-pairs test MAPSSWE of equal numbers of errors per segment (Gillick and Cox 1989).

    Args:
        errors: (segments,), of the first system in each segment of `khasr.scoring.alignments.error_segments`.
        errors_against: (segments,), of the second system in the same segments.

    Returns:
        z is the mean difference / its standard error; p is two-sided from the normal distribution, as in NIST's scoring
        toolkit, and valid from about 50 segments. Systems without a difference have z 0 and p 1.
    """
    differences = np.asarray(errors, np.float64) - np.asarray(errors_against, np.float64)
    count = len(differences)
    if not differences.any():
        return MatchedPairs(0.0, 0.0, 1.0, count)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    if deviation == 0:
        # The same difference in every segment has no standard error: a sign test.
        return MatchedPairs(mean, math.copysign(math.inf, mean), 2.0 ** (1 - count), count)
    z = mean * math.sqrt(count) / deviation
    return MatchedPairs(mean, z, math.erfc(abs(z) / math.sqrt(2)), count)


def _grouped(columns: Sequence[ArrayLike], groups: Sequence[Hashable] | None) -> tuple[NDArray[np.float64], int]:
    """(rows, columns) of utterances or sums over groups, and the number of rows; the last column has the units."""
    table = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    if table[:, -1].sum() <= 0:
        raise ValueError(f"No error rate: the references of all utterances ({len(table):,}) are empty.")
    if groups is not None:
        number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        if len(number) < LEAST_GROUPS:
            raise ValueError(
                f"{len(number)} groups are too few for an interval over groups (at least {LEAST_GROUPS}): the spread "
                "between groups is estimated from them alone. Cross-validation over speakers "
                "(data.split=speaker_fold=K/N) scores every speaker."
            )
        summed = np.zeros((len(number), table.shape[1]))
        np.add.at(summed, [number[group] for group in groups], table)
        table = summed
    if len(table) < 2:
        raise ValueError("1 utterance is too few for an interval (at least 2).")
    return table, len(table)


def resampled_sums(table: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples, columns): column sums of `len(table)` rows drawn with replacement."""
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
    """Rates of the resamples that have reference units."""
    some = units > 0
    return edits[some] / units[some]


def _expansion(count: int, level: float) -> float:
    """Width of a t interval with the unbiased standard deviation / width of the percentile bootstrap's."""
    normal = NormalDist().inv_cdf((1 + level) / 2)
    return math.sqrt(count / (count - 1)) * _student_quantile((1 + level) / 2, count - 1) / normal


def expanded_percentiles(values: NDArray[np.float64], count: int, level: float) -> tuple[float, float]:
    """The interval of a statistic from its values on resamples of `count` rows; see `rate_interval`."""
    normal = NormalDist()
    tail = normal.cdf(-normal.inv_cdf((1 + level) / 2) * _expansion(count, level))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _student_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's t (Abramowitz and Stegun 1964, 26.7.5), within 0.1 % for at least 4 degrees of freedom."""
    x = NormalDist().inv_cdf(p)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return math.fsum([x, *(term / freedom**power for power, term in enumerate(terms, 1))])
