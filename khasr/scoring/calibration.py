"""How well confidences predict which words are right: normalised cross entropy and reliability."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from khasr.scoring.alignments import align
from khasr.scoring.error_rates import words
from khasr.scoring.significance import Interval, expanded_percentiles, resampled_sums

# Confidences are scored as if they were at least this far from 0 and 1, since one wrong certainty costs infinity.
_FARTHEST = 1e-4

_BINS = 10

_LEVEL = 0.95


@dataclass(frozen=True)
class Bin:
    """Words with similar confidences: their mean confidence, and the share that is right with its 95 % interval."""

    confidence: float
    right: float
    low: float
    high: float
    words: int


def right_words(reference: str, hypothesis: str) -> list[bool]:
    """Whether each word of the hypothesis is right, which is aligned with the reference as for WER."""
    right: list[bool] = []
    for pair in align(words(reference), words(hypothesis)):
        right += [pair.kind == "equal"] * len(pair.hypothesis)
    return right


def normalised_cross_entropy(
    right: Sequence[ArrayLike], confidences: Sequence[ArrayLike], resamples: int = 10_000, seed: int = 0
) -> Interval:
    """NIST's normalised cross entropy of confidences, with its bootstrap interval over utterances.

    1 minus the cross entropy of the confidences / that of a constant confidence, the share of words that are right: 1
    for perfect confidences, 0 for ones that say no more than the share, and below 0 for misleading ones.

    Args:
        right: for each utterance, whether each word is right.
        confidences: for each utterance, the confidence of each word.

    Raises:
        ValueError: fewer than two utterances with words, or all words right or all wrong.
    """
    rows = np.array(
        [(_cross_entropy(y, p), np.sum(y), np.size(y)) for y, p in zip(right, confidences, strict=True) if np.size(y)]
    )
    if len(rows) < 2 or rows[:, 1].sum() in (0, rows[:, 2].sum()):
        raise ValueError(
            f"{len(rows)} utterances with words, {int(rows[:, 1].sum()) if len(rows) else 0} words right: a normalised "
            "cross entropy requires two utterances, and words that are right and words that are wrong."
        )
    value = float(_normalised(rows.sum(axis=0)[None])[0])
    drawn = _normalised(resampled_sums(rows, resamples, seed))
    return Interval(value, *expanded_percentiles(drawn, len(rows), _LEVEL))


def _cross_entropy(right: ArrayLike, confidences: ArrayLike) -> float:
    y, p = np.asarray(right, np.float64), np.clip(np.asarray(confidences, np.float64), _FARTHEST, 1 - _FARTHEST)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).sum())


def _normalised(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(resamples,) from the sums of cross entropies, right words and words; without those where all words are right."""
    sums = sums[(sums[:, 1] > 0) & (sums[:, 1] < sums[:, 2])]
    share = sums[:, 1] / sums[:, 2]
    constant = -sums[:, 2] * (share * np.log(share) + (1 - share) * np.log1p(-share))
    return np.asarray(1 - sums[:, 0] / constant)


def reliability(right: ArrayLike, confidences: ArrayLike, bins: int = _BINS) -> list[Bin]:
    """Bins with equal numbers of words, in the order of their confidence."""
    y, p = np.asarray(right, np.float64), np.asarray(confidences, np.float64)
    order = np.argsort(p, kind="stable")
    return [
        Bin(float(p[part].mean()), float(y[part].mean()), *_wilson(float(y[part].sum()), len(part)), len(part))
        for part in np.array_split(order, min(bins, len(order)))
        if len(part)
    ]


def _wilson(count: float, total: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share (Wilson 1927)."""
    share, spread = count / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)
