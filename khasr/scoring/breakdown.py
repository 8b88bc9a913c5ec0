"""WER by what an utterance or a word is like: speaker, duration, words never trained on, how often a word was."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from khasr.scoring.alignments import align
from khasr.scoring.error_rates import word_edits
from khasr.scoring.hypotheses import Hypothesis

_SECONDS = (2, 4, 6, 8, 12, 20)


_TIMES = ((0, 0), (1, 1), (2, 4), (5, 19), (20, 99), (100, None))


@dataclass(frozen=True)
class Row:
    """A line of a breakdown: edits over words of some utterances, or words got wrong over all words of a kind."""

    name: str
    utterances: int
    words: int
    edits: int

    @property
    def rate(self) -> float:
        """Edits over words; nan where there is no word."""
        return self.edits / self.words if self.words else float("nan")


def by_speaker(scored: Sequence[Hypothesis]) -> list[Row]:
    """WER of each speaker, the worst first."""
    return sorted(_rows(scored, [s.speaker for s in scored]), key=lambda r: -r.rate)


def by_duration(scored: Sequence[Hypothesis]) -> list[Row]:
    """WER of utterances of like length."""
    names = []
    for s in scored:
        above = next((i for i, limit in enumerate(_SECONDS) if s.seconds < limit), len(_SECONDS))
        low = _SECONDS[above - 1] if above else 0
        names.append(f"{low:02d}-{_SECONDS[above]:02d} s" if above < len(_SECONDS) else f"{low:02d} s and longer")
    return sorted(_rows(scored, names), key=lambda r: r.name)


def by_oov(scored: Sequence[Hypothesis], trained: Counter[str]) -> list[Row]:
    """WER of utterances with and without a word that training never had."""
    names = []
    for s in scored:
        unknown = sum(word not in trained for word in s.reference.split())
        names.append("no word new" if unknown == 0 else "one word new" if unknown == 1 else "more words new")
    order = ["no word new", "one word new", "more words new"]
    return sorted(_rows(scored, names), key=lambda r: order.index(r.name))


def by_frequency(scored: Sequence[Hypothesis], trained: Counter[str]) -> list[Row]:
    """How many reference words were not recognised, by how often training had them; insertions are of no word."""
    words, wrong = Counter[int](), Counter[int]()
    for s in scored:
        for pair in align(s.reference.split(), s.hypothesis.split()):
            for word in pair.reference:
                times = trained[word]
                kind = next(
                    i for i, (low, high) in enumerate(_TIMES) if low <= times and (high is None or times <= high)
                )
                words[kind] += 1
                wrong[kind] += pair.kind != "equal"
    names = [f"{low} times" if low == high else f"{low} times or more" if high is None else f"{low} to {high} times"
             for low, high in _TIMES]  # fmt: skip
    return [Row(names[k], 0, words[k], wrong[k]) for k in range(len(_TIMES)) if words[k]]


def _rows(scored: Sequence[Hypothesis], names: Sequence[str]) -> list[Row]:
    sums: dict[str, list[int]] = {}
    for s, name in zip(scored, names, strict=True):
        edits = word_edits(s.reference, s.hypothesis)
        row = sums.setdefault(name, [0, 0, 0])
        for i, value in enumerate((1, edits.units, edits.total)):
            row[i] += value
    return [Row(name, *row) for name, row in sums.items()]
