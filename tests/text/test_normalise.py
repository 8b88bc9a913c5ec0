import unicodedata
from collections import Counter
from dataclasses import fields
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khasr.config import TextConfig
from khasr.text.normalise import normalise, transcript
from tests.conftest import SHARED, needs_shared

OPTIONS = st.builds(
    TextConfig,
    **{  # type: ignore[arg-type]
        field.name: st.sampled_from(get_args(hint)) if get_origin(hint) is Literal else st.booleans()
        for field, hint in zip(fields(TextConfig), get_type_hints(TextConfig).values(), strict=True)
        if field.name not in ("segment", "units", "unknown_symbols")
    },
)
SIGNS = "\u17d7។៛ -–%$.,:/09០៩aÉe\u0301\u00b4\u200b\u200c\u200d\ufeff\t\u3000İ"
KHMER = st.text(st.characters(min_codepoint=0x1780, max_codepoint=0x17FF) | st.sampled_from(SIGNS))


@given(KHMER | st.text(), OPTIONS)
@settings(max_examples=500)
def test_idempotent(text: str, options: TextConfig) -> None:
    once = normalise(text, options)
    assert normalise(once, options) == once


@given(KHMER, OPTIONS)
@settings(max_examples=500)
def test_keeps_khmer(text: str, options: TextConfig) -> None:
    """No Khmer letter, vowel or coeng is deleted."""

    def kept(s: str) -> Counter[str]:
        # Joined vowels as their parts, coeng-DA as coeng-TA: only their spelling may change.
        s = s.replace("\u17be", "\u17c1\u17b8").replace("\u17c4", "\u17c1\u17b6").replace("ដ", "ត")
        return Counter(c for c in s if "\u1780" <= c <= "\u17d3" or c == "\u17dd")

    # Words for figures and for repetition signs come on top.
    assert kept(normalise(text, options)) >= kept(text)


@given(KHMER, st.sampled_from(["NFC", "none"]))
def test_defaults(text: str, form: str) -> None:
    """With the defaults only the Unicode form and white space change."""
    expected = unicodedata.normalize("NFC", text) if form == "NFC" else text
    assert normalise(text, TextConfig(unicode_form=form)) == " ".join(expected.split())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({"zero_width": "space"}, "\ufeffក\u200bខ\u200cគ", "ក ខគ"),
        ({"zero_width": "delete"}, "ក\u200bខ", "កខ"),
        ({"syllable_order": True}, "ខ\u17bb\u17d2ញ", "ខ\u17d2ញ\u17bb"),
        ({"syllable_order": True, "join_vowels": True}, "ក\u17b8\u17c1", "ក\u17be"),
        ({"coeng_da": "ta"}, "ស្ដី", "ស្តី"),
        ({"numbers": "words"}, "មាន៥%", "មាន ប្រាំ ភាគរយ"),
        ({"repetition": "repeat"}, "ផ្សេងៗ គ្នា ៗ", "ផ្សេង ផ្សេង គ្នា គ្នា"),
        ({"repetition": "repeat", "numbers": "words"}, "១០ៗ", "ដប់ ដប់"),
        ({"punctuation": "space"}, "ថា៖«ក។ខ»ៗ", "ថា ក ខ ៗ"),
        ({"latin": "drop"}, "ក Java's éក", "ក ក"),
        ({"spaces": "delete"}, "ក ខ", "កខ"),
    ],
)
def test_options(options: dict[str, object], text: str, expected: str) -> None:
    assert normalise(text, TextConfig()) == " ".join(text.split())
    assert normalise(text, TextConfig(**options)) == expected  # type: ignore[arg-type]


def test_segment_first() -> None:
    options = TextConfig(segment=True, numbers="words", repetition="repeat", punctuation="space")
    assert transcript("ខ្ញុំទៅផ្ទះផ្សេងៗ។នៅឆ្នាំ១៩៩៣", options) == "ខ្ញុំ ទៅ ផ្ទះ ផ្សេង ផ្សេង នៅ ឆ្នាំ មួយ ពាន់ ប្រាំបួន រយ កៅសិប បី"


def test_white_space() -> None:
    assert normalise("  ក\u00a0 ខ\t\n", TextConfig()) == "ក ខ"


@needs_shared
def test_openslr_42() -> None:
    changed = 0
    for line in (SHARED / "data/slr42_text/line_index.tsv").read_text(encoding="utf-8").splitlines():
        text = line.split("\t")[-1]
        assert normalise(text, TextConfig()).split() == text.split()
        changed += normalise(text, TextConfig()) != text
    assert changed > 0
