"""WER by speaker, by duration, by words unseen in training, and by how often a word occurred in training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from khasr.scoring.alignments import align
from khasr.scoring.error_rates import word_edits
from khasr.scoring.hypotheses import Hypothesis

# Upper bounds of the classes of duration, in seconds.
_SECONDS = (2, 4, 6, 8, 12, 20)

# Classes of a word's count in training: from, to (None: no upper bound).
_COUNTS = ((0, 0), (1, 1), (2, 4), (5, 19), (20, 99), (100, None))


@dataclass(frozen=True)
class Row:
    """One row of a breakdown: the word edits and reference words of a group of utterances or of words.

    Attributes:
        utterances: 0 where the row counts words, not utterances.
    """

    name: str
    utterances: int
    words: int
    edits: int

    @property
    def rate(self) -> float:
        """Edits / words, nan without words."""
        return self.edits / self.words if self.words else float("nan")


def by_speaker(hypotheses: Sequence[Hypothesis]) -> list[Row]:
    """WER of each speaker, the highest first."""
    return sorted(_rows(hypotheses, [h.speaker for h in hypotheses]), key=lambda r: -r.rate)


def by_duration(hypotheses: Sequence[Hypothesis]) -> list[Row]:
    """WER of utterances of similar duration, the shortest first."""
    names = []
    for h in hypotheses:
        above = next((i for i, limit in enumerate(_SECONDS) if h.seconds < limit), len(_SECONDS))
        low = _SECONDS[above - 1] if above else 0
        names.append(f"{low:02d}-{_SECONDS[above]:02d} s" if above < len(_SECONDS) else f"{low:02d} s and longer")
    return sorted(_rows(hypotheses, names), key=lambda r: r.name)


def by_oov(hypotheses: Sequence[Hypothesis], trained: Counter[str]) -> list[Row]:
    """WER of utterances by their number of out-of-vocabulary words: words that are not in the training transcripts."""
    order = ("no OOV word", "1 OOV word", "2 OOV words or more")
    names = [order[min(2, sum(word not in trained for word in h.reference.split()))] for h in hypotheses]
    return sorted(_rows(hypotheses, names), key=lambda r: order.index(r.name))


def by_frequency(hypotheses: Sequence[Hypothesis], trained: Counter[str]) -> list[Row]:
    """Share of reference words that are replaced or deleted, by their count in training; insertions are not counted."""
    words, wrong = Counter[int](), Counter[int]()
    for h in hypotheses:
        for pair in align(h.reference.split(), h.hypothesis.split()):
            for word in pair.reference:
                count = trained[word]
                kind = next(
                    i for i, (low, high) in enumerate(_COUNTS) if low <= count and (high is None or count <= high)
                )
                words[kind] += 1
                wrong[kind] += pair.kind != "equal"
    names = [f"{low} times" if low == high else f"{low} times or more" if high is None else f"{low} to {high} times"
             for low, high in _COUNTS]  # fmt: skip
    return [Row(names[k], 0, words[k], wrong[k]) for k in range(len(_COUNTS)) if words[k]]


def _rows(hypotheses: Sequence[Hypothesis], names: Sequence[str]) -> list[Row]:
    sums: dict[str, list[int]] = {}
    for h, name in zip(hypotheses, names, strict=True):
        edits = word_edits(h.reference, h.hypothesis)
        row = sums.setdefault(name, [0, 0, 0])
        for i, value in enumerate((1, edits.units, edits.total)):
            row[i] += value
    return [Row(name, *row) for name, row in sums.items()]
