"""The text that a language model is built from: read, cut into sentences and words, normalised, off val and test."""

import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from khasr.config import TextConfig
from khasr.data.tables import decode_text, split_lines
from khasr.text.normalise import normalise, transcript
from khasr.text.segment import ZWSP

# Khmer full stops and question marks, and those of Latin; "1.5" is no end.
_SENTENCE_END = re.compile(r"[។៕៖!?]+|\.(?=\s|$)")


_KHMER_STRETCH = re.compile("[\u1780-\u17d3\u17dc\u17dd]+")


# 99.9 % of OpenSLR 42's words are no longer. Where over a twentieth of a file's stretches are, it is not cut yet.
_LONGEST_WORD, _FEW = 15, 0.05


# What stands for the space between words in a model of characters or clusters, as in flashlight's and fairseq's.
SPACE = "|"


@dataclass
class Source:
    """A file of text, read.

    Attributes:
        segmented: whether its Khmer was cut into words by us.
        held_out: sentences that val or test have, by part; they are left out unless told otherwise.
    """

    path: str
    sha256: str
    sentences: list[str]
    segmented: bool
    held_out: dict[str, int]

    @property
    def words(self) -> int:
        """Words of all its sentences."""
        return sum(len(sentence.split()) for sentence in self.sentences)


def adapt_text_options(options: TextConfig, transcripts: Iterable[str]) -> TextConfig:
    """The transcripts' text options, for text that has what no transcript has: figures and punctuation are not said.

    Where no transcript has a figure, figures are spelled as words; where none has punctuation, it is taken away; and
    zero-width characters become what they stand for. What transcripts do have is left as the options have it.
    """
    symbols = set().union(*map(set, transcripts))
    categories = {unicodedata.category(symbol)[0] for symbol in symbols}
    changes: dict[str, str] = {}
    if "N" not in categories:
        changes["numbers"] = "words"
    if not categories & {"P", "S"}:
        changes["punctuation"] = "space"
    if ZWSP not in symbols:
        changes["zero_width"] = "space"
    return dataclasses.replace(options, **changes)  # type: ignore[arg-type]


def read_source(
    path: Path,
    options: TextConfig,
    held_out: Mapping[str, Collection[str]],
    *,
    segment: str = "auto",
    keep_held_out: bool = False,
) -> Source:
    """A text file's sentences, as transcripts are written.

    Args:
        options: as `adapt_text_options` gives them.
        held_out: normalised sentences of val and test, by part.
        segment: cut Khmer into words `always`, `never`, or where the file is not cut already (`auto`).
        keep_held_out: keep sentences that val or test have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not UTF-8, or has no word.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected UTF-8 text, a sentence or a paragraph a line.")
    data = path.read_bytes()
    text = decode_text(data, str(path))
    cut = segment == "always" or (segment == "auto" and not _is_segmented(text))
    options = dataclasses.replace(options, segment=cut)
    stripped = {part: {_letters(sentence) for sentence in sentences} for part, sentences in held_out.items()}
    sentences, found = [], dict.fromkeys(held_out, 0)
    for line in split_lines(text):
        for piece in _SENTENCE_END.split(line) if options.punctuation == "space" else [line]:
            sentence = transcript(piece, options)
            if not sentence:
                continue
            parts = [part for part, those in stripped.items() if _letters(sentence) in those]
            for part in parts:
                found[part] += 1
            if keep_held_out or not parts:
                sentences.append(sentence)
    if not sentences:
        raise ValueError(
            f"{path} has no word left to build a language model from ("
            f"{sum(found.values())} sentences are of val or test)."
        )
    return Source(str(path), hashlib.sha256(data).hexdigest(), sentences, cut, found)


def _is_segmented(text: str) -> bool:
    """Whether Khmer words stand apart in it."""
    if ZWSP in text:
        return False  # some of them do: `segment_words` keeps those cuts
    stretches = _KHMER_STRETCH.findall(text)
    return sum(len(s) > _LONGEST_WORD for s in stretches) <= _FEW * len(stretches)


def _letters(sentence: str) -> str:
    """A sentence without spaces: another segmentation of it is the same sentence."""
    return sentence.replace(" ", "")


def leave_out(sentences: Sequence[str], held_out: Mapping[str, Collection[str]]) -> tuple[list[str], dict[str, int]]:
    """The training transcripts that neither val nor test has, and how many each had."""
    stripped = {part: {_letters(s) for s in those} for part, those in held_out.items()}
    kept = [s for s in sentences if not any(_letters(s) in those for those in stripped.values())]
    return kept, {part: sum(_letters(s) in those for s in sentences) for part, those in stripped.items()}


def normalised(sentences: Iterable[str], options: TextConfig) -> list[str]:
    """Sentences of a file of references, one a line, without the empty ones."""
    return [text for text in (normalise(s, options) for s in sentences) if text]


# ------------------------------------------------------------------------------------------------------- units of text


def spell(text: str, symbols: Sequence[str]) -> str:
    """A text as a model of characters or clusters reads it: its symbols with spaces between, `|` for the space."""
    return " ".join(SPACE if symbol == " " else symbol for symbol in symbols)
