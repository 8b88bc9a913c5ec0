"""Confidence of words: the probability that a word is right, by logistic regression on what the decoder knows of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import kenlm
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from khasr.config import DecoderConfig, to_plain
from khasr.decoding.beam import counts_symbols, describe_lm, lm_file
from khasr.decoding.decoded import FRAME_SECONDS, Decoded, Word, posteriors, word_confidences
from khasr.text.vocabulary import Vocabulary

# What confidences are computed from. `posterior` is a word's posterior in the n-best list, as a logit, and
# `flat_posterior` with scores scaled by a quarter, since CTC's are too certain. `fit` is the log-probability of the
# word's symbols in its frames minus that of the best symbols. `best` is the mean log-probability of the best symbols of
# the word's frames, `sum` their sum, and `before` and `after` the sums between the word and its neighbours. `lm` is
# log10 P of the word in its context, and `order` the length of the n-gram that the language model found.
FEATURES = (
    "posterior", "flat_posterior", "fit", "best", "sum", "before", "after", "duration", "letters", "lm", "order",
    "unknown",
)  # fmt: skip

_FLAT = 0.25

# Limits of features that would be infinite.
_LEAST_SHARE, _LEAST_FIT = 1e-4, -20.0

Extract = Callable[[NDArray[np.float32], Sequence[Decoded]], NDArray[np.float64]]


def build_features(options: DecoderConfig, vocabulary: Vocabulary) -> Extract:
    """A function from (frames, vocab) log-probabilities and their hypotheses to the features of the first one's words.

    It returns (words, features) in the order of `FEATURES`; without an n-gram of words, `lm` and the following are 0.

    Raises:
        FileNotFoundError, ValueError: as `lm_file`.
    """
    lm = None
    if options.lm is not None and not counts_symbols(lm_file(options.lm), vocabulary):
        lm = kenlm.Model(str(lm_file(options.lm)))
    return lambda rows, hypotheses: _features(rows, hypotheses, vocabulary, lm)


def _features(
    rows: NDArray[np.float32], hypotheses: Sequence[Decoded], vocabulary: Vocabulary, lm: Any
) -> NDArray[np.float64]:
    first = hypotheses[0]
    found = np.zeros((len(first.words), len(FEATURES)))
    if not first.words:
        return found
    listed = [[w.text for w in h.words] for h in hypotheses]
    flat = word_confidences(listed, posteriors([_FLAT * h.score for h in hypotheses]))[0]
    if len(hypotheses) == 1:
        flat = [w.posterior for w in first.words]
    starts = [min(round(w.start / FRAME_SECONDS), len(rows) - 1) for w in first.words]
    spans = [(s, max(s + 1, round(w.end / FRAME_SECONDS))) for s, w in zip(starts, first.words, strict=True)]
    symbols = [vocabulary.encode(w.text) for w in first.words]
    best = rows.max(axis=1).astype(np.float64)
    ends, begins = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(rows)]
    for i, ((start, end), fit) in enumerate(zip(spans, _fits(rows, spans, symbols), strict=True)):
        total = float(best[start:end].sum())
        found[i, :9] = (
            _logit(first.words[i].posterior), _logit(flat[i]),
            max(_LEAST_FIT, (fit - total) / len(symbols[i])), total / (end - start), total,
            best[ends[i] : start].sum(), best[end : begins[i + 1]].sum(),
            math.log((end - start) / len(symbols[i])), math.log(len(symbols[i])),
        )  # fmt: skip
    if lm is not None:
        scores = list(lm.full_scores(first.text))[: len(found)]  # the last is that of the end of the sentence
        found[:, 9:] = [(logp, order, unknown) for logp, order, unknown in scores]
    return found


def _fits(rows: NDArray[np.float32], spans: Sequence[tuple[int, int]], symbols: Sequence[list[int]]) -> list[float]:
    """ln P of each word's symbols in its frames; -inf if it has too few frames."""
    lengths = [end - start for start, end in spans]
    padded = np.zeros((max(lengths), len(spans), rows.shape[1]), np.float32)
    for i, (start, end) in enumerate(spans):
        padded[: end - start, i] = rows[start:end]
    losses = F.ctc_loss(
        torch.from_numpy(padded), torch.tensor([s for word in symbols for s in word]), torch.tensor(lengths),
        torch.tensor([len(word) for word in symbols]), reduction="none",
    )  # fmt: skip
    return [-float(loss) for loss in losses]


def _logit(share: float) -> float:
    share = min(max(share, _LEAST_SHARE), 1 - _LEAST_SHARE)
    return math.log(share / (1 - share))


@dataclass(frozen=True)
class Confidence:
    """A logistic regression on features that are standardised to mean 0 and deviation 1.

    Attributes:
        decoder: the options that it was fitted for.
        mean, deviation, weights: by feature.
    """

    decoder: dict[str, Any]
    mean: dict[str, float]
    deviation: dict[str, float]
    weights: dict[str, float]
    intercept: float

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The confidence of each word, from (words, features)."""
        mean, deviation, weights = (
            np.array([by_name[name] for name in FEATURES]) for by_name in (self.mean, self.deviation, self.weights)
        )
        score = (features - mean) / deviation @ weights + self.intercept
        return np.asarray(1 / (1 + np.exp(-np.clip(score, -30, 30))))

    def rate(self, hypotheses: Sequence[Decoded], features: NDArray[np.float64]) -> list[Decoded]:
        """The hypotheses with the confidences of the first one's words; that of the hypothesis is their mean."""
        first, *others = hypotheses
        rated = [float(p) for p in self.probabilities(features)]
        rated_words = [Word(*word[:4], p) for word, p in zip(first.words, rated, strict=True)]
        mean = math.fsum(rated) / len(rated) if rated else None
        return [first._replace(words=rated_words, confidence=mean), *others]


def decoder_key(options: DecoderConfig) -> dict[str, Any]:
    """The options of a decoder that confidences depend on, with the digests of a language model of build_lm."""
    if options.name == "greedy":
        return {"name": "greedy"}
    key = to_plain(options)
    del key["backend"]
    if options.lm is None:
        return key | {"lm": None}
    lm = lm_file(options.lm)
    return key | {"lm": str(lm.resolve()), "xxh3": describe_lm(lm).get("xxh3")}
