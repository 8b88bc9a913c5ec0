"""A reference and a hypothesis side by side: which words are the same, replaced, left out or put in."""

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
