"""Edits of an utterance in every unit that WER and CER are told in."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torchmetrics import Metric

from khasr.scoring.alignments import align
from khasr.text.segment import segment_words
from khasr.text.syllables import fold_coeng_da, join_vowels, order_syllables


class Edits(NamedTuple):
    """Substitutions, deletions and insertions against a reference of so many units, as jiwer counts them."""

    substitutions: int
    deletions: int
    insertions: int
    units: int

    @property
    def total(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions


def count_edits(reference: Sequence[str] | str, hypothesis: Sequence[str] | str) -> Edits:
    """The fewest edits between two sequences of units: words, or the characters of a string."""
    kinds = Counter(op.tag for op in Levenshtein.editops(reference, hypothesis))
    return Edits(kinds["replace"], kinds["delete"], kinds["insert"], len(reference))


def words(text: str) -> list[str]:
    """The words as they stand apart."""
    return text.split()


def characters(text: str) -> str:
    """The code points, spaces between words counted."""
    return text


def letters(text: str) -> str:
    """The code points without spaces: no segmentation is in it."""
    return text.replace(" ", "")


def resegmented(text: str) -> list[str]:
    """The words that the segmenter cuts the text into once its spaces are gone: both sides are cut by the same rule."""
    return segment_words(text.replace(" ", ""))


# What is told of every evaluation, by the name it has in evaluation.json.
RATES: dict[str, Callable[[str], Sequence[str] | str]] = {
    "wer": words,
    "cer": characters,
    "cer_no_spaces": letters,
    "wer_resegmented": resegmented,
}


def look_alike(text: str) -> str:
    """The text with spellings that are drawn alike written alike: coeng-DA as coeng-TA, signs in one order."""
    return fold_coeng_da(join_vowels(order_syllables(text)))


def confusions(pairs: Iterable[tuple[str, str]]) -> tuple[Counter[tuple[str, str]], int]:
    """Word edits (reference, hypothesis; "" where there is none), and how many substitutions look alike."""
    counted: Counter[tuple[str, str]] = Counter()
    alike = 0
    for reference, hypothesis in pairs:
        for pair in align(reference.split(), hypothesis.split()):
            if pair.kind == "equal":
                continue
            width = max(len(pair.reference), len(pair.hypothesis))
            for a, b in zip(_padded(pair.reference, width), _padded(pair.hypothesis, width), strict=True):
                counted[a, b] += 1
                alike += bool(a and b) and look_alike(a) == look_alike(b)
    return counted, alike


def _padded(words: list[str], width: int) -> list[str]:
    return words + [""] * (width - len(words))


def word_edits(reference: str, hypothesis: str) -> tuple[int, int]:
    """Word edits (substitutions, deletions, insertions) and reference words."""
    words = reference.split()
    return Levenshtein.distance(words, hypothesis.split()), len(words)


def character_edits(reference: str, hypothesis: str) -> tuple[int, int]:
    """Code point edits and reference code points, spaces between words counted as characters."""
    return Levenshtein.distance(reference, hypothesis), len(reference)


class ErrorRates(Metric):
    """Corpus-level WER and CER, as fractions, across batches and ranks; an utterance counts once."""

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Word edits, words, character edits, characters, utterances. Sums of int64: exact on any number of ranks.
        self.add_state("counts", default=torch.zeros(5, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, references: Sequence[str], hypotheses: Sequence[str]) -> None:
        """Counts utterances, the reference first."""
        for reference, hypothesis in zip(references, hypotheses, strict=True):
            counted = [*word_edits(reference, hypothesis), *character_edits(reference, hypothesis), 1]
            self.counts += torch.tensor(counted, device=self.counts.device)

    def compute(self) -> dict[str, float]:
        """`wer` and `cer`, nan where there is no reference unit, and the number of `utterances`."""
        word, words, character, characters, utterances = self.counts.tolist()
        return {
            "wer": word / words if words else float("nan"),
            "cer": character / characters if characters else float("nan"),
            "utterances": utterances,
        }
