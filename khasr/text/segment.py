"""Words of Khmer text, which is written without spaces between them."""

import re

import khmercut

ZWSP = "\u200b"
# Khmer letters and signs go to the segmenter; figures, other scripts and single signs are words of their own.
_KHMER = "\u1780-\u17d3\u17dc\u17dd\u200c\u200d"
_RUNS = re.compile(rf"[{_KHMER}]+|\d+(?:[.,]\d+)*|[^\W\d_{_KHMER}]+|.", re.DOTALL)
_IS_KHMER = re.compile(rf"[{_KHMER}]")


def segment_words(text: str) -> list[str]:
    """The words of a text, in order; joined they are the text without its spaces.

    Text with zero-width spaces (U+200B) is segmented already: it is cut there and at white space, nowhere else. In other
    text white space, punctuation, figures and changes of script part words, and khmercut's conditional random field
    parts the Khmer between them (experiments/corpus compares it with others). Text whose words already stand apart
    needs `str.split`, not this: it would cut words into smaller ones.
    """
    if ZWSP in text:
        return text.replace(ZWSP, " ").split()
    words: list[str] = []
    for piece in text.split():
        for run in _RUNS.findall(piece):
            words += khmercut.tokenize(run) if _IS_KHMER.match(run) else [run]
    return words
