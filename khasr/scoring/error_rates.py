"""Edits between a reference and a hypothesis, in words, characters and the other units that are reported."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from khasr.scoring.alignments import align
from khasr.text.normalise import has_khmer, spoken_form
from khasr.text.segment import segment_words
from khasr.text.syllables import look_alike


class Edits(NamedTuple):
    """Substitutions, deletions and insertions, counted as jiwer does, and the number of units in the reference."""

    substitutions: int
    deletions: int
    insertions: int
    units: int

    @property
    def total(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions


def count_edits(reference: Sequence[str] | str, hypothesis: Sequence[str] | str) -> Edits:
    """The minimum number of edits between two sequences of units: lists of words, or strings of characters."""
    kinds = Counter(op.tag for op in Levenshtein.editops(reference, hypothesis))
    return Edits(kinds["replace"], kinds["delete"], kinds["insert"], len(reference))


def words(text: str) -> list[str]:
    """Words separated by spaces."""
    return text.split()


def characters(text: str) -> str:
    """Code points, spaces included."""
    return text


def letters(text: str) -> str:
    """Code points without spaces, so that word segmentation does not count."""
    return text.replace(" ", "")


def resegmented(text: str) -> list[str]:
    """Words of the text without its spaces, as the segmenter cuts it: the same rule for reference and hypothesis."""
    return segment_words(text.replace(" ", ""))


def normalised(text: str, language: str | None = None) -> list[str]:
    """Words in lower case, without punctuation but apostrophes inside words, and with one spelling of look-alikes."""
    return look_alike(spoken_form(text, language)).split()


Unit = Callable[[str], Sequence[str] | str]

# The error rates of an evaluation, by their names in evaluation.json.
RATES: dict[str, Unit] = {
    "wer": words,
    "wer_normalised": normalised,
    "cer": characters,
    "cer_no_spaces": letters,
    "wer_resegmented": resegmented,
}


def rates_of(texts: Sequence[str], language: str | None = None) -> dict[str, Unit]:
    """The rates that are reported for an evaluation with these references and hypotheses.

    Not those that are meaningless (`wer_resegmented` without Khmer) or equal to others (`wer_normalised` of texts
    without capitals and punctuation).
    """
    chosen: dict[str, Unit] = RATES | {"wer_normalised": lambda text: normalised(text, language)}
    if all(normalised(text, language) == text.split() for text in texts):
        del chosen["wer_normalised"]
    if not any(map(has_khmer, texts)):
        del chosen["wer_resegmented"]
    return chosen


def confusions(pairs: Iterable[tuple[str, str]]) -> tuple[Counter[tuple[str, str]], int]:
    """Counts of word edits, and how many substitutions are between spellings that render alike.

    Keys are (reference word, hypothesis word); "" stands for an insertion's reference and a deletion's hypothesis.
    """
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


def _padded(row: list[str], width: int) -> list[str]:
    return row + [""] * (width - len(row))


def word_edits(reference: str, hypothesis: str) -> Edits:
    """Edits in words."""
    return count_edits(words(reference), words(hypothesis))


def character_edits(reference: str, hypothesis: str) -> Edits:
    """Edits in code points, spaces included."""
    return count_edits(characters(reference), characters(hypothesis))
