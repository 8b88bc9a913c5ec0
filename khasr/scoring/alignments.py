"""A reference and a hypothesis side by side: which words are the same, replaced, left out or put in."""

from collections import Counter
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein


class Pair(NamedTuple):
    """A run of words: equal, replace, delete (in the reference alone) or insert (in the hypothesis alone)."""

    kind: str
    reference: list[str]
    hypothesis: list[str]


def align(reference: list[str], hypothesis: list[str]) -> list[Pair]:
    """The fewest word edits that turn the reference into the hypothesis, in order."""
    return [
        Pair(op.tag, reference[op.src_start : op.src_end], hypothesis[op.dest_start : op.dest_end])
        for op in Levenshtein.opcodes(reference, hypothesis)
    ]


def mark_differences(reference: str, hypothesis: str, before: str = "[", after: str = "]") -> tuple[str, str]:
    """Both texts with the words that differ between marks; a word missing from one side is an empty mark there."""
    marked: tuple[list[str], list[str]] = ([], [])
    for pair in align(reference.split(), hypothesis.split()):
        for words, side in zip((pair.reference, pair.hypothesis), marked, strict=True):
            side.append(" ".join(words) if pair.kind == "equal" else f"{before}{' '.join(words)}{after}")
    return " ".join(marked[0]), " ".join(marked[1])


# Words that both systems have right between two segments: errors nearer than that may have to do with each other.
_GOOD_WORDS = 2


def error_segments(reference: str, hypothesis: str, against: str) -> list[tuple[int, int]]:
    """The word errors of two systems in each stretch of an utterance where either is wrong, for the matched-pairs test.

    Stretches are parted by two or more words that both have right, as NIST's scoring toolkit parts them, so that
    errors in one have nothing to do with those in the next (Gillick and Cox 1989, sec. 3).
    """
    words = reference.split()
    errors = [_errors_by_place(words, text.split()) for text in (hypothesis, against)]
    segments: list[tuple[int, int]] = []
    last = None
    for place in sorted(errors[0].keys() | errors[1].keys()):
        here = (errors[0][place], errors[1][place])
        if last is not None and place // 2 - (last + 1) // 2 < _GOOD_WORDS:
            segments[-1] = (segments[-1][0] + here[0], segments[-1][1] + here[1])
        else:
            segments.append(here)
        last = place
    return segments


def _errors_by_place(reference: list[str], hypothesis: list[str]) -> Counter[int]:
    """Errors at each place of the reference: word i is place 2i + 1, the gap before it 2i."""
    places: Counter[int] = Counter()
    for op in Levenshtein.editops(reference, hypothesis):
        places[2 * op.src_pos + (op.tag != "insert")] += 1
    return places
