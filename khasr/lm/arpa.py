"""n-gram models as ARPA files: reading, writing and interpolating them.

Probabilities in ARPA files are log10.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

UNKNOWN_WORD = "<unk>"


_BOUNDARIES = ("<s>", "</s>")


_NEVER = -99.0


@dataclass
class Ngrams:
    """A back-off model as in an ARPA file.

    Attributes:
        orders: for each order, n-gram to (log10 probability, log10 back-off weight).
    """

    orders: list[dict[tuple[str, ...], tuple[float, float]]] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The words of the model, without sentence boundaries and the unknown word."""
        return [w for (w,) in self.orders[0] if w not in (*_BOUNDARIES, UNKNOWN_WORD)]


def read_counts(arpa: Path) -> list[int]:
    """The number of n-grams of each order, from the header of an ARPA file."""
    counts = []
    with arpa.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("\\1-grams"):
                break
            if match := re.match(r"ngram \d+=(\d+)", line):
                counts.append(int(match[1]))
    return counts


def read_arpa(path: Path) -> Ngrams:
    """The n-grams of an ARPA file."""
    ngrams = Ngrams()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if re.fullmatch(r"\\\d+-grams:", line):
                ngrams.orders.append({})
            elif ngrams.orders and "\t" in line:
                probability, words, *backoff = line.split("\t")
                ngrams.orders[-1][tuple(words.split(" "))] = (float(probability), float(backoff[0]) if backoff else 0.0)
    return ngrams


def write_arpa(ngrams: Ngrams, path: Path) -> None:
    """Writes an ARPA file."""
    top = len(ngrams.orders)
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n" + "".join(f"ngram {n}={len(g)}\n" for n, g in enumerate(ngrams.orders, 1)))
        for n, grams in enumerate(ngrams.orders, 1):
            file.write(f"\n\\{n}-grams:\n")
            for words, (probability, backoff) in grams.items():
                tail = f"\t{backoff:.6f}" if n < top else ""
                file.write(f"{probability:.6f}\t{' '.join(words)}{tail}\n")
        file.write("\n\\end\\\n")


# ------------------------------------------------------------------------------------------------------- interpolation


def interpolate(one: Ngrams, other: Ngrams, weight: float) -> Ngrams:
    """The linear interpolation of two models: P = weight * P_one + (1 - weight) * P_other for every n-gram of either.

    A word that only one model has, has probability 0 in the other. Back-off weights are set so that each context sums
    to 1, as in SRILM's `ngram -mix-lpp` (Stolcke 2002).
    """
    mixed = Ngrams()
    known = [{w for (w,) in model.orders[0]} for model in (one, other)]
    for order in range(max(len(one.orders), len(other.orders))):
        union = dict.fromkeys([*_order(one, order), *_order(other, order)])
        grams = {}
        for words in union:
            parts = [
                10 ** log_probability(model, words) if words[-1] in vocabulary else 0.0
                for model, vocabulary in zip((one, other), known, strict=True)
            ]
            probability = weight * parts[0] + (1 - weight) * parts[1]
            never = words == ("<s>",) or probability <= 0
            grams[words] = (_NEVER if never else math.log10(probability), 0.0)
        mixed.orders.append(grams)
    _renormalise(mixed)
    return mixed


def _order(model: Ngrams, order: int) -> dict[tuple[str, ...], tuple[float, float]]:
    return model.orders[order] if order < len(model.orders) else {}


def log_probability(model: Ngrams, words: tuple[str, ...]) -> float:
    """log10 P(last word | preceding words), with back-off to the n-grams that the model has."""
    backoff = 0.0
    words = words[-len(model.orders) :]
    while True:
        found = model.orders[len(words) - 1].get(words)
        if found is not None:
            return found[0] + backoff
        if len(words) == 1:
            return model.orders[0].get((UNKNOWN_WORD,), (_NEVER, 0.0))[0] + backoff
        context = model.orders[len(words) - 2].get(words[:-1])
        backoff += context[1] if context else 0.0
        words = words[1:]


def _renormalise(model: Ngrams) -> None:
    """Sets each context's back-off weight so that the probabilities after it sum to 1; shorter contexts first."""
    for order in range(1, len(model.orders)):
        taken: dict[tuple[str, ...], tuple[float, float]] = {}
        for words, (probability, _) in model.orders[order].items():
            here, below = taken.get(words[:-1], (0.0, 0.0))
            taken[words[:-1]] = (here + 10**probability, below + 10 ** log_probability(model, words[1:]))
        for context, (here, below) in taken.items():
            left, left_below = max(1 - here, 0.0), max(1 - below, 0.0)
            weight = (
                math.log10(left / left_below)
                if left > 1e-12 and left_below > 1e-12
                else (_NEVER if left_below > 1e-12 else 0.0)
            )
            model.orders[order - 1][context] = (model.orders[order - 1][context][0], weight)


def tune_weight(one: Ngrams, other: Ngrams, sentences: Sequence[str]) -> float:
    """The weight of `one` that maximises the likelihood of sentences, by expectation maximisation (Jelinek 1980).

    Words that neither model has are left out.
    """
    pairs = []
    for sentence in sentences:
        pairs += list(zip(_word_probabilities(one, sentence), _word_probabilities(other, sentence), strict=True))
    pairs = [(a, b) for a, b in pairs if a > 0 or b > 0]
    weight = 0.5
    for _ in range(100):
        before = weight
        shares = [weight * a / (weight * a + (1 - weight) * b) for a, b in pairs]
        weight = sum(shares) / len(shares) if shares else 0.5
        if abs(weight - before) < 1e-5:
            break
    return weight


def _word_probabilities(model: Ngrams, sentence: str) -> Iterator[float]:
    """P of each word and of the end of the sentence; 0 for words that the model does not have."""
    words = ("<s>", *sentence.split(), "</s>")
    for end in range(2, len(words) + 1):
        known = (words[end - 1],) in model.orders[0]
        yield 10 ** log_probability(model, words[max(0, end - len(model.orders)) : end]) if known else 0.0


def write_unigrams(ngrams_file: Path, path: Path) -> int:
    """Writes the words of an ARPA file, one per line; returns the number of words."""
    words = list(arpa_words(ngrams_file))
    path.write_text("".join(f"{w}\n" for w in words), encoding="utf-8")
    return len(words)


def arpa_words(arpa: Path) -> Iterator[str]:
    """The words of an ARPA file, without boundaries and the unknown word."""
    with arpa.open(encoding="utf-8") as lines:
        inside = False
        for line in lines:
            if line.startswith("\\1-grams"):
                inside = True
            elif line.startswith("\\"):
                if inside:
                    return
            elif inside and "\t" in line:
                word = line.rstrip("\n").split("\t")[1]
                if word not in (*_BOUNDARIES, UNKNOWN_WORD):
                    yield word
