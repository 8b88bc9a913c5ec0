"""Confidences fitted on val, and how well they predict which words are right."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from khasr.config import DecoderConfig
from khasr.decoding.confidence import FEATURES, Confidence, build_features, decoder_key
from khasr.decoding.confidence_file import remove_confidence, write_confidence
from khasr.decoding.decoded import Decoded
from khasr.decoding.decoder import n_best
from khasr.inference.recogniser import PartLogProbs
from khasr.inference.reliability_picture import draw_reliability
from khasr.run.folder import RunFolder
from khasr.scoring.calibration import normalised_cross_entropy, reliability, right_words
from khasr.text.counting import counted
from khasr.text.vocabulary import Vocabulary

# Fewest right and fewest wrong words that a confidence is fitted on: ten for each of its features would be more usual.
_LEAST_WORDS = 30

_FOLDS = 10

# More than the n-best list of any decoder has.
_ALL = 1_000_000


@dataclass
class RatedPart:
    """The decoded utterances of a part, with what confidences are computed from.

    Attributes:
        hypotheses: the n-best list of each utterance.
        features: (words, features) of the first hypothesis of each utterance.
        right: whether each word of the first hypothesis is right.
    """

    hypotheses: list[list[Decoded]]
    features: list[NDArray[np.float64]]
    right: list[list[bool]]

    @property
    def posteriors(self) -> list[list[float]]:
        """The posterior of each word of the first hypotheses."""
        return [[word.posterior for word in beams[0].words] for beams in self.hypotheses]


def decode_part(part: PartLogProbs, options: DecoderConfig, vocabulary: Vocabulary) -> RatedPart:
    """Decodes a part to n-best lists. Raises as `BeamSearch`."""
    decode, features_of = n_best(options, vocabulary, _ALL), build_features(options, vocabulary)
    hypotheses = [decode(rows) for rows in part.log_probs]
    features = [features_of(rows, beams) for rows, beams in zip(part.log_probs, hypotheses, strict=True)]
    right = [right_words(r, beams[0].text) for r, beams in zip(part.references, hypotheses, strict=True)]
    return RatedPart(hypotheses, features, right)


# ------------------------------------------------------------------------------------------------------------- fitting


def fit_confidence(rated: RatedPart, options: DecoderConfig) -> tuple[Confidence, list[NDArray[np.float64]]]:
    """A confidence, and that of each word by cross-validation over utterances.

    Raises:
        ValueError: too few words are right or wrong, or the confidences say no more than the share of right words.
    """
    right = [word for words in rated.right for word in words]
    counts = (sum(right), len(right) - sum(right))
    if min(counts) < _LEAST_WORDS:
        raise ValueError(
            f"{counts[0]:,} words are right and {counts[1]:,} wrong; at least {_LEAST_WORDS} of each are required."
        )
    fold = np.random.default_rng(0).permutation(len(rated.right)) % _FOLDS
    crossed: list[NDArray[np.float64]] = [np.zeros(0)] * len(fold)
    for number in range(_FOLDS):
        fitted = _fit(rated, [i for i in range(len(fold)) if fold[i] != number], options)
        for i in np.flatnonzero(fold == number):
            crossed[i] = fitted.probabilities(rated.features[i])
    entropy = normalised_cross_entropy(rated.right, crossed)
    if entropy.low <= 0:
        raise ValueError(
            f"the normalised cross entropy by cross-validation is {entropy.value:.2f} ({entropy.low:.2f} to "
            f"{entropy.high:.2f}), which does not differ from that of a constant, 0."
        )
    return _fit(rated, range(len(fold)), options), crossed


def _fit(rated: RatedPart, utterances: Sequence[int], options: DecoderConfig) -> Confidence:
    features = np.concatenate([rated.features[i] for i in utterances])
    right = np.array([word for i in utterances for word in rated.right[i]])
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation[deviation < 1e-6] = 1.0  # of a feature that the decoder does not have
    model = LogisticRegression(max_iter=1000).fit((features - mean) / deviation, right)

    def named(row: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(FEATURES, map(float, row), strict=True))

    weights, intercept = named(model.coef_[0]), float(model.intercept_[0])
    return Confidence(decoder_key(options), named(mean), named(deviation), weights, intercept)


def describe_confidence(
    rated: RatedPart, confidences: Sequence[NDArray[np.float64]], measured: str, picture: Path
) -> dict[str, Any]:
    """Normalised cross entropies and reliability, as in evaluation.json; draws the picture.

    Args:
        confidences: of the words of each utterance.
        measured: what the confidences were fitted on, for the reader.

    Raises:
        ValueError: as `normalised_cross_entropy`.
    """
    right = [word for words in rated.right for word in words]
    found: dict[str, Any] = {"fitted": measured, "words": len(right), "right": sum(right) / max(1, len(right))}
    values_of: dict[str, Sequence[ArrayLike]] = {"confidence": confidences, "posterior": rated.posteriors}
    for name, values in values_of.items():
        bins = reliability(right, np.concatenate([np.asarray(v) for v in values]))
        entropy = normalised_cross_entropy(rated.right, values)
        found[name] = {"normalised_cross_entropy": list(entropy), "reliability": [asdict(b) for b in bins]}
    draw_reliability(found, picture)
    return found


def format_confidence(found: dict[str, Any] | str) -> str:
    """The line that an evaluation prints."""
    if isinstance(found, str):
        return f"Confidence of words: {found}"
    values = {name: found[name]["normalised_cross_entropy"] for name in ("confidence", "posterior")}
    shown = {name: f"{value:.3f} ({low:.3f} to {high:.3f})" for name, (value, low, high) in values.items()}
    return (
        f"Confidence of {found['words']:,} words, {100 * found['right']:.1f} % right, {found['fitted']}: normalised "
        f"cross entropy {shown['confidence']}; of posteriors {shown['posterior']}"
    )


def fit_on_val(folder: RunFolder, rated: RatedPart, options: DecoderConfig, picture: Path) -> dict[str, Any] | str:
    """Fits a confidence and writes it to the run's folder; returns its description, or why it was not fitted."""
    try:
        confidence, crossed = fit_confidence(rated, options)
    except ValueError as refused:
        remove_confidence(folder, options)  # of an earlier fit
        return f"not fitted: {refused}"
    write_confidence(folder, confidence)
    utterances = counted(len(rated.right), "utterance")
    return describe_confidence(rated, crossed, f"fitted by cross-validation on {utterances}", picture)
