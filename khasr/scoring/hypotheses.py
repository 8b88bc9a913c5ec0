"""Hypotheses: the record of a recognised utterance, its scores, and the file `hypotheses.tsv`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from khasr.scoring.error_rates import character_edits, word_edits
from khasr.text.terminal import guard_cell, unguard_cell

# Texts are normalised and hold none of these; ids and the symbols of foreign models may.
_ESCAPED = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})

_COLUMNS = (
    "id", "reference", "hypothesis", "edits", "seconds", "part", "speaker", "substitutions", "deletions", "insertions",
)  # fmt: skip


@dataclass(frozen=True)
class Hypothesis:
    """A recognised utterance.

    Attributes:
        speaker: empty if unknown.
        seconds: duration of the audio.
        reference: the normalised transcript.
        hypothesis: the decoded text.
    """

    id: str
    speaker: str
    seconds: float
    reference: str
    hypothesis: str

    @property
    def edits(self) -> int:
        """Word edits between reference and hypothesis."""
        return word_edits(self.reference, self.hypothesis).total


def score(hypotheses: Sequence[Hypothesis]) -> dict[str, float]:
    """Corpus-level `wer` and `cer` as fractions (nan without reference units), and the number of `utterances`."""
    rates: dict[str, float] = {}
    for name, edits_of in (("wer", word_edits), ("cer", character_edits)):
        edits = [edits_of(h.reference, h.hypothesis) for h in hypotheses]
        units = sum(e.units for e in edits)
        rates[name] = sum(e.total for e in edits) / units if units else float("nan")
    return rates | {"utterances": len(hypotheses)}


def sample_evenly(hypotheses: Sequence[Hypothesis], count: int) -> list[Hypothesis]:
    """At most `count` hypotheses at even distances in the order from the most word edits to the fewest."""
    ranked = sorted(hypotheses, key=lambda h: (-h.edits, h.id))
    if len(ranked) <= count:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / (count - 1))] for i in range(count)]


def write_hypotheses(
    path: Path, parts: Mapping[str, Sequence[Hypothesis]], against: Sequence[Hypothesis] | None = None
) -> None:
    """Writes `hypotheses.tsv`: one row per utterance, with its part and its word edits.

    Texts that a spreadsheet would run as formulas have an apostrophe before them, which `read_hypotheses` removes.

    Args:
        path: the file; replaced if it exists.
        parts: hypotheses by the name of their part.
        against: a second system's hypotheses of the same utterances in the same order; written as column `against`.
    """
    rows: list[list[object]] = [[*_COLUMNS, *(["against"] if against is not None else [])]]
    others = iter(against or ())
    for part, hypotheses in parts.items():
        for h in hypotheses:
            edits = word_edits(h.reference, h.hypothesis)
            row = [h.id, h.reference, h.hypothesis, edits.total, f"{h.seconds:.3f}", part, h.speaker, *edits[:3]]
            rows.append(row + ([next(others).hypothesis] if against is not None else []))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(map(_written, row)) + "\n" for row in rows)


def _written(cell: object) -> str:
    return guard_cell(cell.translate(_ESCAPED)) if isinstance(cell, str) else str(cell)


def read_hypotheses(path: Path) -> tuple[dict[str, list[Hypothesis]], int]:
    """Hypotheses by part, and the number of rows that lack a column or a duration and were skipped.

    Reads files of earlier versions too: a missing column `speaker` is read as empty, a missing column `part` as
    the part "".
    """
    parts: dict[str, list[Hypothesis]] = {}
    skipped = 0
    with path.open(encoding="utf-8", newline="\n") as file:
        columns = file.readline().rstrip("\r\n").split("\t")
        for line in file:
            try:
                cells = map(unguard_cell, line.rstrip("\r\n").split("\t"))
                row = dict(zip(columns, cells, strict=True))
                seconds = float(row["seconds"])
                hypothesis = Hypothesis(row["id"], row.get("speaker", ""), seconds, row["reference"], row["hypothesis"])
            except (KeyError, ValueError):
                skipped += 1
                continue
            parts.setdefault(row.get("part", ""), []).append(hypothesis)
    return parts, skipped
