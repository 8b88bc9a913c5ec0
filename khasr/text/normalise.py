"""Transcripts made comparable: one spelling of the same text, one space between words."""

import unicodedata

from khasr.config import TextConfig


def normalise(text: str, options: TextConfig) -> str:
    """The text as it is learned and scored; normalising twice changes nothing more.

    White space of every kind becomes one U+0020 between words and none at the ends. No letter, vowel sign or coeng is
    ever taken away.
    """
    if options.lowercase:
        text = text.lower()
    if options.unicode_form != "none":
        # After lower-casing, which can leave text denormalised (U+0130 becomes i and a combining dot).
        text = unicodedata.normalize(options.unicode_form, text)
    return " ".join(text.split())
