"""Normalisation of transcripts: one spelling of the same text, one space between words.

Each option of data.text is one step. With the defaults, only the Unicode form and white space change.
"""

import re
import unicodedata

from khasr.config import TextConfig
from khasr.text.numbers import spell_numbers
from khasr.text.segment import ZWSP, segment_words
from khasr.text.syllables import fold_coeng_da, join_vowels, order_syllables

# Characters without width or sound: soft hyphen, joiners, direction marks, byte order mark (U+200B is separate).
_ZERO_WIDTH = re.compile("[\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")

_LATIN = re.compile("[A-Za-zªºÀ-ÖØ-öø-ʸḀ-ỿ\uff21-\uff3a\uff41-\uff5a][\u0300-\u036f'’]*")

_KHMER_WORD = "[\u1780-\u17d3\u17dc\u17dd\u200c\u200d]+"

_REPEATED = re.compile(rf"({_KHMER_WORD})\s*ៗ")

# Each round of the steps changes less than the one before; two or three rounds are usual.
_ROUNDS = 10


def transcript(text: str, options: TextConfig) -> str:
    """A corpus's text as used in training and scoring: segmented into words if data.text.segment is set, normalised."""
    return normalise(" ".join(segment_words(text)) if options.segment else text, options)


def normalise(text: str, options: TextConfig) -> str:
    """The text after the steps that the options select; normalising is idempotent.

    All white space becomes one U+0020 between words and none at the ends. No Khmer letter, vowel sign or coeng is ever
    deleted; `join_vowels` replaces two signs by the one that they compose.
    """
    for _ in range(_ROUNDS):
        before, text = text, _round(text, options)
        if text == before:
            break
    return text


def _round(text: str, options: TextConfig) -> str:
    if options.zero_width != "keep":
        text = _ZERO_WIDTH.sub("", text).replace(ZWSP, " " if options.zero_width == "space" else "")
    if options.lowercase:
        text = text.lower()
    if options.unicode_form != "none":
        # After lower-casing, which may denormalise the text (U+0130 becomes i and a combining dot).
        text = unicodedata.normalize(options.unicode_form, text)
    if options.syllable_order:
        text = order_syllables(text)
    if options.join_vowels:
        text = join_vowels(text)
    if options.coeng_da == "ta":
        text = fold_coeng_da(text)
    if options.numbers == "words":
        text = spell_numbers(text)
    if options.repetition == "repeat":
        text = _REPEATED.sub(r"\1 \1 ", text)
    if options.punctuation == "space":
        text = "".join(" " if unicodedata.category(c)[0] in "PS" else c for c in text)
    if options.latin == "drop":
        text = _LATIN.sub(" ", text)
    return ("" if options.spaces == "delete" else " ").join(text.split())
