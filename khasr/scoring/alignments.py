"""Word alignments of a reference and a hypothesis."""

from collections import Counter
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein


class Pair(NamedTuple):
    """Consecutive words of one kind: equal, replace, delete (reference only) or insert (hypothesis only)."""

    kind: str
    reference: list[str]
    hypothesis: list[str]


def align(reference: list[str], hypothesis: list[str]) -> list[Pair]:
    """An alignment with the minimum number of word edits, in order."""
    return [
        Pair(op.tag, reference[op.src_start : op.src_end], hypothesis[op.dest_start : op.dest_end])
        for op in Levenshtein.opcodes(reference, hypothesis)
    ]


def mark_differences(reference: str, hypothesis: str, before: str = "[", after: str = "]") -> tuple[str, str]:
    """Both texts with differing words between marks; where one side has no word, its marks are empty."""
    marked: tuple[list[str], list[str]] = ([], [])
    for pair in align(reference.split(), hypothesis.split()):
        for words, side in zip((pair.reference, pair.hypothesis), marked, strict=True):
            side.append(" ".join(words) if pair.kind == "equal" else f"{before}{' '.join(words)}{after}")
    return " ".join(marked[0]), " ".join(marked[1])


# Words that both systems have right between two segments: errors closer than that may depend on each other.
_GOOD_WORDS = 2


def error_segments(reference: str, hypothesis: str, against: str) -> list[tuple[int, int]]:
    """Word errors of two systems in each segment of an utterance where either has an error.

    Segments are separated by at least two words that both systems have right, as in NIST's scoring toolkit, so that
    errors in different segments can be taken as independent (Gillick and Cox 1989, sec. 3).
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
