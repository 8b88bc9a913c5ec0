"""Numbers in figures as words of many languages, by num2words (Khmer: `khasr.text.numbers`)."""

import functools
import re
import unicodedata
from typing import Any

# Languages that write a decimal point, and a comma between thousands; the others write a comma, and a point or space.
_DECIMAL_POINT = {"en", "th", "ja", "ko", "he", "bn", "te", "kn", "am"}

# Languages without spaces between words.
_UNSPACED = {"th", "ja"}

# Codes of ISO 639-1 that num2words names differently.
_OTHER_CODES = {"kk": "kz", "nb": "no", "nn": "no"}

# More digits than this, or a zero before other digits, are a code, and are read digit by digit.
_MOST_DIGITS = 12

_ORDINALS = {
    "en": re.compile(r"(?<![\w.,])(\d{1,12})(?:st|nd|rd|th)\b", re.IGNORECASE),
    "fr": re.compile(r"(?<![\w.,])(\d{1,12})(?:er|re|ère|e|è|ème|nde?)\b", re.IGNORECASE),
}

_FRENCH_FIRST = {"er": "premier", "re": "première", "ère": "première"}


@functools.cache
def number_language(code: str) -> str:
    """num2words' code of a language such as fr, pt-BR or kk.

    Raises:
        ValueError: num2words does not have it.
    """
    from num2words import CONVERTER_CLASSES

    there = {name.lower().replace("_", "-"): name for name in CONVERTER_CLASSES}
    wanted = code.lower().replace("_", "-")
    base = wanted.split("-")[0]
    found = there.get(wanted) or there.get(base) or there.get(_OTHER_CODES.get(base, ""))
    if found is None:
        raise ValueError(
            f"data.text.language={code}: num2words, which data.text.numbers=words uses, has no such language. Expected "
            f"km or one of {', '.join(sorted(there))}; data.text.numbers=keep leaves figures as they are."
        )
    return str(found)


def spell_figures(text: str, code: str) -> str:
    """The text with figures of any script as words: whole numbers, decimals, and ordinals of English and French.

    Thousands may be grouped. Everything else around figures stays: dates and times are read number by number.

    Raises:
        ValueError: no words for numbers are known in the language.
    """
    language = number_language(code)
    base = language.split("_")[0]
    if base in _ORDINALS:
        text = _ORDINALS[base].sub(lambda found: _spaced(_ordinal(found, base, language), base), text)
    return _numbers(base).sub(lambda found: _spaced(_number(found, language), base), text)


@functools.cache
def _numbers(base: str) -> re.Pattern[str]:
    decimal, groups = (r"\.", ",\u00a0\u202f") if base in _DECIMAL_POINT else (",", ". \u00a0\u202f'’")
    return re.compile(
        rf"(?:(?<!\S)([-−]))?((?<!\d)[1-9]\d{{0,2}}(?:([{groups}])\d{{3}})(?:\3\d{{3}})*(?!\d)|\d+)(?:{decimal}(\d+))?"
    )


def _spaced(words: str, base: str) -> str:
    return words if base in _UNSPACED else f" {words} "


def _number(found: re.Match[str], language: str) -> str:
    minus, whole, _, fraction = found.groups()
    digits, sign = _digits(whole), "-" if minus else ""
    after = _digits(fraction) if fraction else ""
    code = len(digits) > _MOST_DIGITS or (len(digits) > 1 and digits[0] == "0")
    words = "" if code else _words(f"{sign}{digits}.{after}" if after else sign + digits, language)
    if not words:
        # A code, or a number that num2words does not have.
        whole = _one_by_one(digits, language) if code else _words(sign + digits, language)
        words = f"{whole} {_one_by_one(after, language)}".strip()
    return words or found[0]


def _ordinal(found: re.Match[str], base: str, language: str) -> str:
    ending = found[0][len(found[1]) :].lower()
    if base == "fr" and found[1] == "1" and ending in _FRENCH_FIRST:
        return _FRENCH_FIRST[ending]
    return _words(_digits(found[1]), language, "ordinal") or found[0]


def _digits(figures: str) -> str:
    """The figures of any script as 0 to 9, without what groups them."""
    return "".join(str(unicodedata.digit(c)) for c in figures if c.isdecimal())


def _one_by_one(digits: str, language: str) -> str:
    return " ".join(_words(digit, language) for digit in digits)


@functools.lru_cache(maxsize=10_000)
def _words(number: str, language: str, to: str = "cardinal") -> str:
    """The words of a number; empty if num2words does not have them."""
    from num2words import num2words

    value: Any = number if "." in number else int(number)
    try:
        words = num2words(value, lang=language, to=to)
    except Exception:  # of one number in one language: NotImplementedError, OverflowError, IndexError and more
        return ""
    return " ".join(words.replace(",", " ").split())
