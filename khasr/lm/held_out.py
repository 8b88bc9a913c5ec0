"""Finds sentences of val and test in other text, whatever their spaces and spelling and the line that they are in."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from khasr.config import TextConfig
from khasr.text.normalise import normalise

# Spellings that look alike are made equal by these options and by the table below, and spaces are removed.
_FOLDED = TextConfig(
    unicode_form="NFKC", lowercase=True, zero_width="delete", syllable_order=True, join_vowels=True, coeng_da="ta",
    punctuation="space", spaces="delete",
)  # fmt: skip

# Deprecated letters, letters that are drawn alike or stand for each other in the same words, and signs that are often
# left out. The Unicode Standard, chapter 16.4, and Khmer Encoding Structure (SIL) list them.
_ALIKE = str.maketrans(
    {"\u17a3": "\u17a2", "\u17a4": "\u17a2\u17b6", "\u17b2": "\u17b1", "\u17a8": "\u17a7\u1780", "\u17c8": "\u17c7"}
    | dict.fromkeys("\u17b4\u17b5\u17ca\u17c9\u17cb\u17cc\u17cd\u17ce\u17cf\u17d0\u17d1\u17dd")
)

# A sentence is in a line if this share of its distinct runs of 8 characters is; all of them if it has fewer than 12,
# and only as a whole line if it has fewer than 8. Chosen on OpenSLR 42 (experiments/decoding): a share of 0.6 also
# removes sentences that have only a phrase in common.
_RUN, _SHARE, _MANY_RUNS, _FEWEST_RUNS = 8, 0.8, 12, 8


def fold(text: str) -> str:
    """Letters, signs and digits of a text, without spaces, and with one spelling of what looks alike."""
    folded = normalise(text, _FOLDED).translate(_ALIKE)
    return "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")


class HeldOut:
    """Sentences that text for a language model must not contain, by part."""

    def __init__(self, parts: Mapping[str, Collection[str]]) -> None:
        """Indexes the sentences of each part."""
        self._whole: dict[str, set[str]] = defaultdict(set)  # folded sentence to its parts
        self._sentences: list[tuple[int, set[str]]] = []  # number of runs and parts
        self._with_run: dict[str, list[int]] = defaultdict(list)
        for part, sentences in parts.items():
            for sentence in sentences:
                self._whole[fold(sentence)].add(part)
        self._whole.pop("", None)
        for folded, of in self._whole.items():
            runs = _runs(folded)
            for run in runs:
                self._with_run[run].append(len(self._sentences))
            self._sentences.append((len(runs), of))

    def parts_in(self, line: str) -> set[str]:
        """The parts of which the line has a sentence, or of which it is a long piece of a sentence.

        Short sentences, with fewer than 15 characters when folded, are found as whole lines only.
        """
        folded = fold(line)
        found = set(self._whole.get(folded, ()))
        runs = _runs(folded)
        shared = Counter(number for run in runs for number in self._with_run.get(run, ()))
        for number, count in shared.items():
            own, parts = self._sentences[number]
            least = _SHARE * own if own >= _MANY_RUNS else max(own, _FEWEST_RUNS)
            if count >= least or (len(runs) >= _MANY_RUNS and count >= _SHARE * len(runs)):
                found |= parts
        return found


def _runs(folded: str) -> set[str]:
    return {folded[i : i + _RUN] for i in range(len(folded) - _RUN + 1)}
