"""A decoded text with the time, the posterior and the confidence of each word."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from khasr.data.audio import FRAME_STRIDE, SAMPLE_RATE

FRAME_SECONDS = FRAME_STRIDE / SAMPLE_RATE


class Word(NamedTuple):
    """A word with its start and end in seconds.

    Attributes:
        posterior: in the n-best list; the mean frame probability for greedy decoding. Usually far too high.
        confidence: the probability that the word is right, fitted on val; None if it was not fitted for this decoder.
    """

    text: str
    start: float
    end: float
    posterior: float
    confidence: float | None = None


class Decoded(NamedTuple):
    """A hypothesis of an utterance.

    Attributes:
        score: natural log-probability of the symbols, plus the weighted language model score if there is one.
        posterior: within the n-best list; the mean frame probability for greedy decoding.
        confidence: the expected share of its words that are right; None as for words.
    """

    text: str
    words: list[Word]
    score: float
    posterior: float
    confidence: float | None = None


def posteriors(scores: Sequence[float]) -> list[float]:
    """The probabilities of hypotheses with these log scores, normalised to sum to 1."""
    best = max(scores)
    weights = [math.exp(score - best) for score in scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def word_confidences(words: Sequence[Sequence[str]], shares: Sequence[float]) -> list[list[float]]:
    """The posterior of each word: the total posterior of hypotheses with that word there (Wessel 2001, n-best).

    The words of the first hypothesis are aligned with all others. The words of the others are aligned with the first
    only, which avoids quadratic time: a word has the first's where they agree, else its own posterior.
    """
    agreeing: list[list[float]] = [[] for _ in words[0]]
    of_each: list[list[float]] = []
    for other, share in zip(words, shares, strict=True):
        for op in Levenshtein.opcodes(list(words[0]), list(other)):
            if op.tag == "equal":
                for place in range(op.src_start, op.src_end):
                    agreeing[place].append(share)
    # The posteriors are rounded, so that even their exact sum can exceed 1 by a unit in the last place.
    first = [min(1.0, math.fsum(shares_there)) for shares_there in agreeing]
    for other, share in zip(words, shares, strict=True):
        own = [share] * len(other)
        for op in Levenshtein.opcodes(list(words[0]), list(other)):
            if op.tag == "equal":
                own[op.dest_start : op.dest_end] = first[op.src_start : op.src_end]
        of_each.append(own)
    return of_each
