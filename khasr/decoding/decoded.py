"""What a decoder heard: a text, when each word was said, and how sure it is."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from khasr.data.audio import FRAME_STRIDE, SAMPLE_RATE

FRAME_SECONDS = FRAME_STRIDE / SAMPLE_RATE


class Word(NamedTuple):
    """A word, from start to end in seconds; confidence is between 0 and 1."""

    text: str
    start: float
    end: float
    confidence: float


class Decoded(NamedTuple):
    """One way to read an utterance.

    Attributes:
        score: natural logarithm; of all symbols' probabilities, and of the language model's where there is one.
        confidence: share of the n-best list's probability, or of the frames' where there is no list.
    """

    text: str
    words: list[Word]
    score: float
    confidence: float


def posteriors(scores: Sequence[float]) -> list[float]:
    """The shares of hypotheses with these log scores, which sum to 1."""
    best = max(scores)
    weights = [math.exp(score - best) for score in scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def word_confidences(words: Sequence[Sequence[str]], shares: Sequence[float]) -> list[list[float]]:
    """For each word of each hypothesis, the share of the hypotheses that have it at its place (Wessel 2001, n-best).

    Only the first hypothesis' words are held against all others; another's against the first alone, which would be
    quadratic otherwise: they get the share that agrees with the first, or their own.
    """
    agreeing: list[list[float]] = [[] for _ in words[0]]
    confidences: list[list[float]] = []
    for other, share in zip(words, shares, strict=True):
        for op in Levenshtein.opcodes(list(words[0]), list(other)):
            if op.tag == "equal":
                for place in range(op.src_start, op.src_end):
                    agreeing[place].append(share)
    # The shares are rounded, so even their exact sum can exceed 1 by a unit in the last place.
    first = [min(1.0, math.fsum(shares_there)) for shares_there in agreeing]
    for other, share in zip(words, shares, strict=True):
        own = [share] * len(other)
        for op in Levenshtein.opcodes(list(words[0]), list(other)):
            if op.tag == "equal":
                own[op.dest_start : op.dest_end] = first[op.src_start : op.src_end]
        confidences.append(own)
    return confidences
