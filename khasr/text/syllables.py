"""The written syllable of Khmer, a base letter with its signs, and the order in which the signs are stored.

The order is that of SIL's khmer-character-specification (khnormal, M. Hosken and M. Sok, 2021-2024): base, robat, coeng
stack with coeng-RO last, shifter, vowels before, below, above and after, signs, final signs. Readers see no difference
between orders; a recogniser would learn each as a separate word.
"""

import re

COENG = "\u17d2"

_BASE = "\u1780-\u17a2\u17a5-\u17b3\u25cc"

_STACKED = f"{COENG}[{_BASE}]"

# Robat, shifters, vowels and signs; a coeng without a following letter; U+200C, which keeps a shifter above.
_SIGNS = "\u17b6-\u17d1\u17d3\u17dd\u200c" + COENG

_SYLLABLE = re.compile(f"[{_BASE}](?:{_STACKED}|[{_SIGNS}])+")

_CLUSTER = re.compile(f"[{_BASE}](?:{_STACKED}|[{_SIGNS}])*|.", re.DOTALL)

_COMPONENT = re.compile(f"{_STACKED}|.", re.DOTALL)

_COENG_RO = COENG + "រ"

# Rank of each sign in its syllable; a stacked letter has rank 2, coeng-RO 3.
_PLACE = {"\u17cc": 1, COENG: 4, "\u17c9": 5, "\u17ca": 5, "\u200c": 6}

# Vowels before the base, wholly or in part.
_PLACE |= dict.fromkeys("\u17be\u17bf\u17c0\u17c1\u17c2\u17c3\u17c4\u17c5", 7)
_PLACE |= dict.fromkeys("\u17bb\u17bc\u17bd", 8) | dict.fromkeys("\u17b7\u17b8\u17b9\u17ba", 9) | {"\u17b6": 10}

_LAST = {"\u17c7": 12, "\u17c8": 12}

_OTHER_SIGN = 11

# A vowel typed as two signs that look like it, with the vowel below that may be typed between them.
_PARTS = [
    (re.compile("\u17c1([\u17bb-\u17bd]?)\u17b8"), "\u17be\\1"),  # េ ី -> ើ
    (re.compile("\u17c1([\u17bb-\u17bd]?)\u17b6"), "\u17c4\\1"),  # េ ា -> ោ
]

_COENG_DA, _COENG_TA = COENG + "ដ", COENG + "ត"


def split_clusters(text: str) -> list[str]:
    """The text cut before each base letter: Khmer character clusters; every other code point is separate."""
    return _CLUSTER.findall(text)


def order_syllables(text: str) -> str:
    """The text with the signs of each syllable in SIL's order; a permutation of its code points."""
    return _SYLLABLE.sub(lambda found: _ordered(found[0]), text)


def _ordered(syllable: str) -> str:
    return syllable[0] + "".join(sorted(_COMPONENT.findall(syllable[1:]), key=_place))


def _place(component: str) -> int:
    if len(component) == 2:
        return 3 if component == _COENG_RO else 2
    return _PLACE.get(component) or _LAST.get(component, _OTHER_SIGN)


def join_vowels(text: str) -> str:
    """The text with vowels that were typed as two look-alike signs as one: េ and ី become ើ, េ and ា become ោ."""
    for parts, whole in _PARTS:
        text = parts.sub(whole, text)
    return text


def fold_coeng_da(text: str) -> str:
    """The text with coeng-TA for coeng-DA: the two look the same and are used interchangeably (SIL folds them too)."""
    return text.replace(_COENG_DA, _COENG_TA)


def look_alike(text: str) -> str:
    """The text with spellings that render alike made equal: coeng DA as coeng TA, vowels and signs in one order."""
    return fold_coeng_da(join_vowels(order_syllables(text)))
