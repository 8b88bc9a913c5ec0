"""Subtitles: words with times as SubRip captions that can be read."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from khasr.decoding.decoded import Word
from khasr.text.syllables import split_clusters

# Lines of a caption and characters of a line, as broadcasters and Netflix limit them; durations in seconds.
_LINES, _CHARACTERS = 2, 42
_SHORTEST, _LONGEST = 0.7, 7.0

# Words with a lower confidence are in italics: they are more likely wrong than right.
_DOUBTFUL = 0.5

_TAGS = re.compile("</?i>")

# A caption ends before a pause of this length, in seconds.
_PAUSE = 0.6


@dataclass
class _Caption:
    """Pieces of text with their common time, in seconds."""

    lines: list[str]
    start: float
    end: float


def subtitles(words: Sequence[Word], between: str = " ") -> str:
    """The words as SubRip captions.

    A caption ends at a pause. It has at most two lines of 42 characters, is shown for 0.7 to 7 s, and ends before the
    next one starts. Words whose confidence is below 0.5 are in italics, `<i>`. Words that are too long for a line, as
    of models that write no spaces, are cut between clusters.

    Args:
        between: what is written between two words.
    """
    blocks = []
    shown_until = 0  # milliseconds
    for number, caption in enumerate(_captions(words, between), 1):
        start = max(round(caption.start * 1000), shown_until)
        earliest, latest = start + round(_SHORTEST * 1000), start + round(_LONGEST * 1000)
        shown_until = min(max(round(caption.end * 1000), earliest), latest)
        text = "\n".join(caption.lines)
        blocks.append(f"{number}\n{_time(start)} --> {_time(shown_until)}\n{text}")
    return "\n\n".join(blocks)


def _captions(words: Sequence[Word], between: str) -> list[_Caption]:
    captions: list[_Caption] = []
    for word in words:
        for number, piece in enumerate(_pieces(word)):
            before = between if number == 0 else ""
            doubtful = piece.confidence is not None and piece.confidence < _DOUBTFUL
            shown = f"<i>{piece.text}</i>" if doubtful else piece.text
            last = captions[-1] if captions else None
            if (
                last is None
                or piece.start - last.end >= _PAUSE
                or piece.end - last.start > _LONGEST
                or (lines := _add(last.lines, before, shown)) is None
            ):
                captions.append(_Caption([shown], piece.start, piece.end))
            else:
                last.lines, last.end = lines, piece.end
    return captions


def _add(lines: list[str], before: str, text: str) -> list[str] | None:
    """The lines with more text at the end; None if it does not fit."""
    joined = f"{lines[-1]}{before}{text}".replace(f"</i>{before}<i>", before)
    if len(_TAGS.sub("", joined)) <= _CHARACTERS:
        return [*lines[:-1], joined]
    return [*lines, text] if len(lines) < _LINES else None


def _pieces(word: Word) -> list[Word]:
    """A word cut into pieces that fit a line and a caption's time; times in proportion to the characters."""
    clusters = [part for cluster in split_clusters(word.text) for part in _cut(cluster)]
    count = max(math.ceil(len(word.text) / _CHARACTERS), math.ceil((word.end - word.start) / _LONGEST))
    if count <= 1 or len(clusters) <= 1:
        return [word]
    size = min(_CHARACTERS, math.ceil(len(word.text) / count))
    texts = [clusters[0]]
    for cluster in clusters[1:]:
        if len(texts[-1]) + len(cluster) <= size:
            texts[-1] += cluster
        else:
            texts.append(cluster)
    pieces, position = [], 0
    per_character = (word.end - word.start) / len(word.text)
    for text in texts:
        start = word.start + position * per_character
        position += len(text)
        pieces.append(Word(text, start, word.start + position * per_character, *word[3:]))
    return pieces


def _cut(cluster: str) -> list[str]:
    """A cluster that is longer than a line, as of nonsense text, in parts that are not."""
    return [cluster[i : i + _CHARACTERS] for i in range(0, len(cluster), _CHARACTERS)]


def _time(milliseconds: int) -> str:
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
