"""Word segmentation of Khmer, which is written without spaces between words."""

import re

import khmercut

ZWSP = "\u200b"

# Runs of Khmer are segmented; numbers (also dates), runs of other scripts and single signs are separate words.
_KHMER = "\u1780-\u17d3\u17dc\u17dd\u200c\u200d"

_RUNS = re.compile(rf"[{_KHMER}]+|\d+(?:[.,:/-]\d+)*|[^\W\d_{_KHMER}]+|.", re.DOTALL)

_IS_KHMER = re.compile(rf"[{_KHMER}]")

# 99.9 % of OpenSLR 42's words, and 99 % of Google's lexicon, are this long or shorter.
_LONGEST_WORD = 15


def segment_words(text: str) -> list[str]:
    """The words of a text, in order; concatenated they are the text without its spaces.

    Text with zero-width spaces (U+200B) counts as segmented: it is cut there and at white space. Only a stretch of more
    than 15 letters between them (Wikipedia has zero-width spaces in some places only) is segmented like other text: at
    punctuation, numbers and changes of script, and within Khmer by khmercut's conditional random field
    (experiments/corpus compares segmenters). Text whose words are separated by spaces needs `str.split` instead: this
    function would cut its words into smaller ones.
    """
    if ZWSP not in text:
        return [word for stretch in text.split() for word in _words(stretch)]
    words: list[str] = []
    for stretch in text.replace(ZWSP, " ").split():
        words += [stretch] if len(stretch) <= _LONGEST_WORD else _words(stretch)
    return words


def _words(stretch: str) -> list[str]:
    words: list[str] = []
    for run in _RUNS.findall(stretch):
        words += khmercut.tokenize(run) if _IS_KHMER.match(run) else [run]
    return words
