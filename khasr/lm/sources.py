"""Text for language models: read, split into sentences and words, normalised, without sentences of val and test."""

import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from khasr.config import TextConfig
from khasr.data.tables import decode_text, split_lines
from khasr.lm.held_out import HeldOut
from khasr.text.normalise import has_khmer, normalise, transcript
from khasr.text.segment import ZWSP

# Khmer and Latin full stops and question marks; the point in "1.5" does not end a sentence.
_SENTENCE_END = re.compile(r"[។៕៖!?]+|\.(?=\s|$)")


_KHMER_STRETCH = re.compile("[\u1780-\u17d3\u17dc\u17dd]+")


# 99.9 % of the words of OpenSLR 42 have at most 15 code points. A file in which more than 5 % of the stretches of
# Khmer letters are longer is not segmented.
_LONGEST_WORD, _FEW = 15, 0.05


# The space between words in a model of characters or clusters, as in flashlight and fairseq.
SPACE = "|"


@dataclass
class Source:
    """The sentences of a text file.

    Attributes:
        segmented: whether khasr segmented its Khmer into words.
        held_out: number of sentences with text of val or test, by part; they are left out unless keep_held_out is set.
    """

    path: str
    sha256: str
    sentences: list[str]
    segmented: bool
    held_out: dict[str, int]

    @property
    def words(self) -> int:
        """The number of words."""
        return sum(len(sentence.split()) for sentence in self.sentences)


def adapt_text_options(options: TextConfig, transcripts: Iterable[str]) -> TextConfig:
    """Text options under which written text becomes like the transcripts.

    If no transcript has digits, numbers are spelled out; if none has punctuation, it is removed; if none has zero-width
    spaces, they become spaces. Otherwise the options stay as they are.
    """
    symbols = set().union(*map(set, transcripts))
    categories = {unicodedata.category(symbol)[0] for symbol in symbols}
    changes: dict[str, str] = {}
    # Without a language, numbers become Khmer words.
    khmer = has_khmer("".join(symbols))
    if "N" not in categories and (khmer or options.language is not None):
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
    """The sentences of a text file in the form of the transcripts.

    Args:
        options: as `adapt_text_options` returns them.
        held_out: normalised sentences of val and test, by part.
        segment: segment Khmer into words `always`, `never`, or if the file is not segmented (`auto`).
        keep_held_out: keep sentences with text of val or test.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not UTF-8, or no words are left.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected UTF-8 text with one sentence or paragraph per line.")
    data = path.read_bytes()
    text = decode_text(data, str(path))
    cut = segment == "always" or (segment == "auto" and not _is_segmented(text))
    options = dataclasses.replace(options, segment=cut)
    index = HeldOut(held_out)
    sentences, found = [], dict.fromkeys(held_out, 0)
    for line in split_lines(text):
        for piece in _SENTENCE_END.split(line) if options.punctuation == "space" else [line]:
            sentence = transcript(piece, options)
            if not sentence:
                continue
            parts = index.parts_in(sentence)
            for part in parts:
                found[part] += 1
            if keep_held_out or not parts:
                sentences.append(sentence)
    if not sentences:
        raise ValueError(
            f"{path} has no words left to build a language model from ("
            f"{sum(found.values())} sentences are or have sentences of val or test)."
        )
    return Source(str(path), hashlib.sha256(data).hexdigest(), sentences, cut, found)


def _is_segmented(text: str) -> bool:
    """Whether Khmer words are separated by spaces."""
    if ZWSP in text:
        return False  # marks some boundaries, which `segment_words` keeps
    stretches = _KHMER_STRETCH.findall(text)
    return sum(len(s) > _LONGEST_WORD for s in stretches) <= _FEW * len(stretches)


def leave_out(sentences: Sequence[str], held_out: Mapping[str, Collection[str]]) -> tuple[list[str], dict[str, int]]:
    """The sentences with no text of a held-out part, and the number of the others for each part."""
    index = HeldOut(held_out)
    parts = [index.parts_in(sentence) for sentence in sentences]
    kept = [sentence for sentence, of in zip(sentences, parts, strict=True) if not of]
    return kept, {part: sum(part in of for of in parts) for part in held_out}


def normalised(sentences: Iterable[str], options: TextConfig) -> list[str]:
    """Normalised sentences, without empty ones."""
    return [text for text in (normalise(s, options) for s in sentences) if text]


# ------------------------------------------------------------------------------------------------------- units of text


def spell(text: str, symbols: Sequence[str]) -> str:
    """A text for a model of characters or clusters: symbols separated by spaces, `|` for the space."""
    return " ".join(SPACE if symbol == " " else symbol for symbol in symbols)
