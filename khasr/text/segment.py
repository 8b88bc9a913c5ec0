"""Words of Khmer text, which is written without spaces between them."""

import re

import khmercut

ZWSP = "\u200b"


# Khmer goes to the segmenter; figures (a date is one), other scripts and single signs are words of their own.
_KHMER = "\u1780-\u17d3\u17dc\u17dd\u200c\u200d"


_RUNS = re.compile(rf"[{_KHMER}]+|\d+(?:[.,:/-]\d+)*|[^\W\d_{_KHMER}]+|.", re.DOTALL)


_IS_KHMER = re.compile(rf"[{_KHMER}]")


# 99.9 % of OpenSLR 42's words, and 99 % of Google's lexicon, are this long or shorter.
_LONGEST_WORD = 15


def segment_words(text: str) -> list[str]:
    """The words of a text, in order; joined they are the text without its spaces.

    Text with zero-width spaces (U+200B) is segmented already: it is cut there and at white space. Only a stretch of
    over 15 letters without one is no word (Wikipedia has zero-width spaces here and there); it is cut as other text is:
    punctuation, figures and changes of script part words, and khmercut's conditional random field parts the Khmer
    between them (experiments/corpus compares it with others). Text whose words already stand apart needs `str.split`,
    not this, which would cut words into smaller ones.
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
