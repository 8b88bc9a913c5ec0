"""Normalisation of transcripts: one spelling of the same text, one space between words.

Each option of data.text is one step. With the defaults, only the Unicode form and white space change.
"""

import re
import unicodedata
from collections.abc import Iterable

from khasr.config import TextConfig
from khasr.text.number_words import number_language, spell_figures
from khasr.text.numbers import spell_numbers
from khasr.text.segment import ZWSP, segment_words
from khasr.text.syllables import fold_coeng_da, join_vowels, order_syllables

KHMER = "km"

_KHMER_LETTER = re.compile("[\u1780-\u17ff]")

# Characters without width or sound: soft hyphen, joiners, direction marks, byte order mark (U+200B is separate).
_ZERO_WIDTH = re.compile("[\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")

_LATIN = re.compile("[A-Za-zªºÀ-ÖØ-öø-ʸḀ-ỿ\uff21-\uff3a\uff41-\uff5a][\u0300-\u036f'’]*")

_KHMER_WORD = "[\u1780-\u17d3\u17dc\u17dd\u200c\u200d]+"

# Apostrophes and what is typed for them, quotation marks, and hyphens that are not the usual code point.
_PLAIN = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u02b9\u02bb\u02bc\u02bd\u2032`\u00b4\uff07", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u301d\u301e\uff02", '"')
    | dict.fromkeys("\u2010\u2011\u2043\uff0d", "-")
)

# Languages in which the lower case of I is dotless: Turkish, Azerbaijani, Crimean Tatar, Gagauz.
_DOTLESS = {"tr", "az", "crh", "gag"}

_REPEATED = re.compile(rf"({_KHMER_WORD})\s*ៗ")

# Each round of the steps changes less than the one before; two or three rounds are usual.
_ROUNDS = 10


def transcript(text: str, options: TextConfig) -> str:
    """A corpus's text as used in training and scoring: segmented into words if data.text.segment is set, normalised."""
    return normalise(" ".join(segment_words(text)) if options.segment else text, options)


def has_khmer(text: str) -> bool:
    """Whether a text has a character of the Khmer script."""
    return _KHMER_LETTER.search(text) is not None


def check_text_options(options: TextConfig, texts: Iterable[str]) -> None:
    """Checks that the numbers of these texts can be written as words.

    Raises:
        ValueError: data.text.numbers=words without a language for texts that are not Khmer, or with an unknown one.
    """
    if options.numbers != "words":
        return
    if options.language is not None:
        if options.language != KHMER:
            number_language(options.language)
    elif not any(map(has_khmer, texts)):
        raise ValueError(
            "data.text.numbers=words writes Khmer words unless data.text.language is set, and no text has a Khmer "
            "letter. Set the language, for example data.text.language=fr, or data.text.numbers=keep."
        )


def lower_case(text: str, language: str | None) -> str:
    """The text in lower case, with a dotless i for I in Turkish and its relatives."""
    if language is not None and language.split("-")[0].split("_")[0].lower() in _DOTLESS:
        text = text.replace("I\u0307", "i").replace("\u0130", "i").replace("I", "\u0131")
    return text.lower()


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


def spoken_form(text: str, language: str | None = None) -> str:
    """The text in lower case, without punctuation but apostrophes inside words: equal for texts that sound the same."""
    form = TextConfig(
        unicode_form="NFKC", zero_width="space", lowercase=True, quotes="plain", punctuation="space", keep="'",
        language=language,
    )  # fmt: skip
    return normalise(text, form)


def _round(text: str, options: TextConfig) -> str:
    if options.zero_width != "keep":
        text = _ZERO_WIDTH.sub("", text).replace(ZWSP, " " if options.zero_width == "space" else "")
    if options.lowercase:
        text = lower_case(text, options.language)
    if options.unicode_form != "none":
        # After lower-casing, which may denormalise the text (U+0130 becomes i and a combining dot).
        text = unicodedata.normalize(options.unicode_form, text)
    if options.quotes == "plain":
        text = text.translate(_PLAIN)
    if options.remove:
        text = text.translate(dict.fromkeys(map(ord, options.remove)))
    if options.syllable_order:
        text = order_syllables(text)
    if options.join_vowels:
        text = join_vowels(text)
    if options.coeng_da == "ta":
        text = fold_coeng_da(text)
    if options.numbers == "words":
        khmer = options.language in (None, KHMER)
        text = spell_numbers(text) if khmer else spell_figures(text, str(options.language))
    if options.repetition == "repeat":
        text = _REPEATED.sub(r"\1 \1 ", text)
    if options.punctuation == "space":
        text = _without_punctuation(text, options.keep)
    if options.latin == "drop":
        text = _LATIN.sub(" ", text)
    return ("" if options.spaces == "delete" else " ").join(text.split())


def _without_punctuation(text: str, keep: str) -> str:
    """The text with spaces for punctuation and symbols, except those of `keep` between two letters or digits."""
    kinds = [unicodedata.category(c)[0] for c in text]

    def inside(at: int) -> bool:
        return 0 < at < len(text) - 1 and kinds[at - 1] in "LMN" and kinds[at + 1] in "LMN"

    return "".join(" " if kinds[i] in "PS" and not (c in keep and inside(i)) else c for i, c in enumerate(text))
