"""Shapley attribution of a difference in WER between two recipes, with intervals over seeds and utterances.

Recipe B differs from recipe A in k factors. A cell is a set of factors that are set as in B; its index is a bit mask,
so cell 0 is A and cell 2^k - 1 is B. Everything reported is a contrast: a weighted sum of cell means with weights that
sum to 0. Shapley values (Shapley 1953; for decompositions Shorrocks 2013) add up to the difference exactly and do not
depend on the order in which factors are changed.
"""

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from khasr.scoring.significance import LEAST_GROUPS

Array = NDArray[np.float64]

MOST_WHOLE = 5
"""The most factors for which all 2^k cells are run; above it, orders of the factors are sampled."""


def shapley_weights(factors: int) -> Array:
    """(factors, cells): the Shapley value of each factor as a weighted sum of the cells' values."""
    weights = np.zeros((factors, 2**factors))
    for factor in range(factors):
        for cell in range(2**factors):
            if not cell >> factor & 1:
                size = cell.bit_count()
                share = 1 / (factors * math.comb(factors - 1, size))
                weights[factor, cell | 1 << factor] += share
                weights[factor, cell] -= share
    return weights


def gap_weights(factors: int) -> Array:
    """(1, cells): B minus A."""
    weights = np.zeros((1, 2**factors))
    weights[0, [0, -1]] = -1, 1
    return weights


def first_weights(factors: int) -> Array:
    """(factors, cells): the effect of each factor changed first, in A."""
    weights = np.zeros((factors, 2**factors))
    for factor in range(factors):
        weights[factor, [0, 1 << factor]] = -1, 1
    return weights


def last_weights(factors: int) -> Array:
    """(factors, cells): the effect of each factor changed last, into B."""
    whole = 2**factors - 1
    weights = np.zeros((factors, 2**factors))
    for factor in range(factors):
        weights[factor, [whole ^ 1 << factor, whole]] = -1, 1
    return weights


def pairs(factors: int) -> list[tuple[int, int]]:
    """All pairs of factors."""
    return list(itertools.combinations(range(factors), 2))


def pair_weights(factors: int) -> Array:
    """(pairs, cells): the Harsanyi dividend of each pair: its joint effect in A minus the two single effects."""
    weights = np.zeros((len(pairs(factors)), 2**factors))
    for row, (i, j) in enumerate(pairs(factors)):
        weights[row, [0, 1 << i, 1 << j, 1 << i | 1 << j]] = 1, -1, -1, 1
    return weights


def antithetic_orders(factors: int, count: int, seed: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """`count` random orders of the factors, each with its reverse; differences of early and late changes cancel."""
    rng = np.random.default_rng(seed)
    orders = [tuple(int(i) for i in rng.permutation(factors)) for _ in range(count)]
    return [(order, order[::-1]) for order in orders]


def cells_of_order(order: Sequence[int]) -> list[int]:
    """The cells on the path from A to B along which the factors are changed in this order."""
    return [sum(1 << i for i in order[:length]) for length in range(len(order) + 1)]


def path_weights(orders: Sequence[Sequence[int]]) -> Array:
    """(factors, cells): the mean effect of each factor over these orders, an unbiased estimate of its Shapley value."""
    factors = len(orders[0])
    weights = np.zeros((factors, 2**factors))
    for order in orders:
        for factor, (before, after) in zip(order, itertools.pairwise(cells_of_order(order)), strict=True):
            weights[factor, after] += 1 / len(orders)
            weights[factor, before] -= 1 / len(orders)
    return weights


# ------------------------------------------------------------------------------------------------------------ intervals


@dataclass(frozen=True)
class Replicates:
    """Runs of the same cells with the same seeds.

    Attributes:
        scores: (seeds, cells): WER as a fraction; 1 for a run that did not learn; nan for a cell that the seed lacks.
        edits: (seeds, cells, utterances), word edits; None if the hypotheses are not known.
        words: (utterances,), words of the references.
        groups: (utterances,), the speaker of each utterance; None or empty names if unknown.
    """

    scores: Array
    edits: Array | None = None
    words: Array | None = None
    groups: Sequence[Hashable] | None = None

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return len(self.scores)


@dataclass(frozen=True)
class Estimates:
    """Contrasts with their joint uncertainty.

    Attributes:
        values: (contrasts,).
        covariance: (contrasts, contrasts): of seeds and utterances together; nan with a single seed or where seeds have
            no effect.
        df: (contrasts,): degrees of freedom (Satterthwaite 1946).
        seed_errors: (contrasts,): the standard errors from seeds alone.
        level: coverage of the intervals.
    """

    values: Array
    covariance: Array
    df: Array
    seed_errors: Array
    level: float = 0.95

    @property
    def errors(self) -> Array:
        """(contrasts,): standard errors."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def intervals(self) -> Array:
        """(contrasts, 2): t intervals."""
        reach = stats.t.ppf((1 + self.level) / 2, self.df) * self.errors
        return np.stack([self.values - reach, self.values + reach], axis=1)

    @property
    def ps(self) -> Array:
        """(contrasts,): two-sided p-values of no effect."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(2 * stats.t.sf(np.abs(self.values) / self.errors, self.df))

    def detectable(self, power: float = 0.8) -> Array:
        """(contrasts,): the smallest true effects whose interval excludes 0 with this probability."""
        reach = stats.t.ppf((1 + self.level) / 2, self.df) + stats.t.ppf(power, self.df)
        return np.asarray(reach * self.errors)


def estimate(weights: Array, runs: Replicates, level: float = 0.95) -> Estimates:
    """Contrasts of the cells' means, with intervals from noise that is pooled over the cells.

    The noise between seeds is the residual of an additive model of cells and seeds. The sampling of utterances is
    added, without the part that differs from seed to seed, which the first part has already.
    """
    used = np.flatnonzero(np.abs(weights).sum(axis=0))
    weights, scores = weights[:, used], runs.scores[:, used]
    edits = None if runs.edits is None else runs.edits[:, used]
    values = weights @ scores.mean(axis=0)
    by_seeds, df_seeds = _seed_covariance(weights, scores)
    by_utterances, df_utterances = _utterance_covariance(
        np.einsum("qc,rcu->rqu", weights, edits) if edits is not None else None, runs
    )
    return _combined(values, by_seeds, df_seeds, by_utterances, df_utterances, level)


def estimate_each_seed(weights: Array, runs: Replicates, level: float = 0.95) -> Estimates:
    """The same contrasts, one value for each seed: t with seeds - 1 degrees of freedom, for noise unlike among cells.

    Args:
        weights: (contrasts, cells), or (seeds, contrasts, cells) where each seed has different cells.
    """
    each = np.broadcast_to(weights, (runs.seeds, *weights.shape[-2:]))
    scores = np.nan_to_num(runs.scores)  # a cell that a seed lacks has weight 0 for it
    by_seed = np.einsum("rqc,rc->rq", each, scores)
    covariance = np.full((by_seed.shape[1],) * 2, np.nan)
    if runs.seeds > 1 and np.ptp(by_seed, axis=0).any():
        covariance = np.atleast_2d(np.cov(by_seed.T)) / runs.seeds
    edits = None if runs.edits is None else np.einsum("rqc,rcu->rqu", each, np.nan_to_num(runs.edits))
    by_utterances, df_utterances = _utterance_covariance(edits, runs)
    return _combined(by_seed.mean(axis=0), covariance, runs.seeds - 1, by_utterances, df_utterances, level)


def _seed_covariance(weights: Array, scores: Array) -> tuple[Array, float]:
    """Covariance of contrasts from the pooled residual of an additive model of cells and seeds; its df."""
    seeds, cells = scores.shape
    df = (seeds - 1) * (cells - 1)
    residual = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    squares = float((residual**2).sum())
    failed = scores >= 1
    if (failed.any(axis=0) & ~failed.all(axis=0)).any():  # in some cell it is chance whether a run learns
        # As if half a run more had failed (cf. Agresti and Coull 1998): a rare event's variance is mostly seen too low.
        squares += 0.5 * float((1 - scores[~failed].mean()) ** 2)
    if df < 1 or squares <= 1e-18:
        return np.full((len(weights),) * 2, np.nan), max(df, 1)
    return weights @ weights.T * squares / df / seeds, df


def _utterance_covariance(edits: Array | None, runs: Replicates) -> tuple[Array | None, float]:
    """Covariance of contrasts from the sampling of utterances (speakers where there are LEAST_GROUPS); its df.

    A contrast's WER is a ratio of sums over utterances; its variance is that of the mean of its linearised terms (delta
    method), which is the bootstrap's limit. The part that varies from seed to seed is subtracted (two-way random
    effects: Searle, Casella, McCulloch 1992, sec. 4.5).

    Args:
        edits: (seeds, contrasts, utterances): each utterance's contrast of edits.
    """
    if edits is None or runs.words is None or runs.words.sum() == 0:
        return None, 1
    words = runs.words
    rates = edits.sum(axis=2) / words.sum()
    terms = (edits - rates.mean(axis=0)[None, :, None] * words) / words.sum()
    groups = dict.fromkeys(runs.groups or ())
    if len(groups) >= LEAST_GROUPS:
        number = {group: i for i, group in enumerate(groups)}
        summed = np.zeros((*terms.shape[:2], len(groups)))
        for utterance, group in enumerate(runs.groups or ()):
            summed[:, :, number[group]] += terms[:, :, utterance]
        terms = summed
    count = terms.shape[2]
    if count < 2:
        return None, 1
    mean = terms.mean(axis=0)
    centred = mean - mean.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T * count / (count - 1)
    if len(terms) > 1:
        residual = terms - mean - terms.mean(axis=2, keepdims=True) + mean.mean(axis=1)[None, :, None]
        by_seed = np.einsum("rqu,rsu->qs", residual, residual) * count / (count - 1)
        covariance = _positive(covariance - by_seed / (len(terms) - 1) / len(terms))
    return covariance, count - 1


def _positive(matrix: Array) -> Array:
    """The nearest matrix without negative eigenvalues: a covariance."""
    sizes, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray(vectors * np.maximum(sizes, 0) @ vectors.T)


def _combined(
    values: Array, by_seeds: Array, df_seeds: float, by_utterances: Array | None, df_utterances: float, level: float
) -> Estimates:
    first = np.diag(by_seeds)
    if by_utterances is None:
        return Estimates(values, by_seeds, np.full(len(values), float(df_seeds)), np.sqrt(first), level)
    second = np.diag(by_utterances)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = (first + second) ** 2 / (first**2 / df_seeds + second**2 / df_utterances)
    return Estimates(values, by_seeds + by_utterances, df, np.sqrt(first), level)


def fieller(part: float, whole: float, covariance: Array, df: float, level: float = 0.95) -> tuple[float, float] | None:
    """The interval of part / whole (Fieller 1954); None where the interval of the whole includes 0.

    Args:
        covariance: (2, 2) of part and whole.
    """
    t2 = float(stats.t.ppf((1 + level) / 2, df)) ** 2
    a = whole**2 - t2 * covariance[1, 1]
    if not a > 0:
        return None
    b = part * whole - t2 * covariance[0, 1]
    c = part**2 - t2 * covariance[0, 0]
    root = math.sqrt(max(0.0, b**2 - a * c))
    return (b - root) / a, (b + root) / a


def bounds(weights: Array, means: Array, lowest: float = 0.0, highest: float = 1.0) -> tuple[Array, Array]:
    """The range of each contrast where some cells could not be run (nan), whose WER may be anything in between."""
    missing = np.isnan(means)
    known = weights @ np.nan_to_num(means)
    unknown = weights[:, missing]
    low = known + np.where(unknown > 0, unknown * lowest, unknown * highest).sum(axis=1)
    high = known + np.where(unknown > 0, unknown * highest, unknown * lowest).sum(axis=1)
    return low, high
