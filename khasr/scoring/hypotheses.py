"""A split, recognised and counted."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from khasr.scoring.error_rates import ErrorRates, count_edits


@dataclass(frozen=True)
class Hypothesis:
    """What was heard in one utterance.

    Attributes:
        edits: word edits between reference and hypothesis.
        seconds: of audio.
    """

    id: str
    reference: str
    hypothesis: str
    edits: int
    seconds: float


@dataclass(frozen=True)
class Scored:
    """An utterance and what was heard."""

    id: str
    speaker: str
    seconds: float
    reference: str
    hypothesis: str


def score(hypotheses: Sequence[Hypothesis]) -> dict[str, float]:
    """Corpus-level wer and cer, as fractions, and the count of utterances."""
    rates = ErrorRates()
    rates.update([h.reference for h in hypotheses], [h.hypothesis for h in hypotheses])
    return rates.compute()


def evenly(hypotheses: Sequence[Hypothesis], count: int) -> list[Hypothesis]:
    """Some right and some wrong, from the most edits to the fewest, evenly."""
    ranked = sorted(hypotheses, key=lambda h: (-h.edits, h.id))
    if len(ranked) <= count:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / (count - 1))] for i in range(count)]


def write_hypotheses(path: Path, scored: Sequence[Sequence[Scored]]) -> None:
    """Writes a line an utterance: what was said and heard, with its word edits; the other run's beside it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        names = ["id", "speaker", "seconds", "reference", "hypothesis", "substitutions", "deletions", "insertions"]
        rows.writerow(names + (["against"] if len(scored) > 1 else []))
        for together in zip(*scored, strict=True):
            s = together[0]
            edits = count_edits(s.reference.split(), s.hypothesis.split())
            rows.writerow([s.id, s.speaker, f"{s.seconds:.3f}", s.reference, s.hypothesis, *edits[:3],
                           *(o.hypothesis for o in together[1:])])  # fmt: skip


def write_run_hypotheses(path: Path, parts: Iterable[tuple[str, list[Hypothesis]]]) -> None:
    """Writes a run's hypotheses.tsv: one line per utterance, with its part in the last column."""
    with path.open("w", encoding="utf-8", newline="") as file:
        # Texts are normalised: no tab or line end is in them.
        rows = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        rows.writerow(["id", "reference", "hypothesis", "edits", "seconds", "part"])
        for part, hypotheses in parts:
            rows.writerows([h.id, h.reference, h.hypothesis, h.edits, f"{h.seconds:.3f}", part] for h in hypotheses)
