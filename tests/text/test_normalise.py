import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from khasr.config import CONF_DIR, Config, TextConfig
from khasr.text.normalise import check_text_options, normalise, transcript
from tests.conftest import SHARED, needs_shared

FREE = {
    "language": st.sampled_from([None, "km", "fr", "tr", "th", "en"]),
    "remove": st.sampled_from(["", "e\u0301'"]),
    "keep": st.sampled_from(["", "'-"]),
}
OPTIONS = st.builds(
    TextConfig,
    **FREE,  # type: ignore[arg-type]
    **{  # type: ignore[arg-type]
        field.name: st.sampled_from(get_args(hint)) if get_origin(hint) is Literal else st.booleans()
        for field, hint in zip(fields(TextConfig), get_type_hints(TextConfig).values(), strict=True)
        if field.name not in ("segment", "units", "unknown_symbols", *FREE)
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
        ({"lowercase": True}, "ISPARTA İZMİR", "isparta i\u0307zmi\u0307r"),
        ({"lowercase": True, "language": "tr"}, "ISPARTA İZMİR", "ısparta izmir"),
        ({"lowercase": True, "language": "az-Latn"}, "I\u0307I", "iı"),
        ({"quotes": "plain"}, "« L’été ‘ok’ » “x” a‑b ʼ", "\" L'été 'ok' \" \"x\" a-b '"),
        ({"remove": "\u0640\u064e"}, "كـتَاب", "كتاب"),
        ({"punctuation": "space", "keep": "'-"}, "'l'eau' - vingt-deux, dit-il -- ok'", "l'eau vingt-deux dit-il ok"),
        ({"punctuation": "space", "keep": "'"}, "क्'ख vingt-deux", "क्'ख vingt deux"),
    ],
)
def test_options(options: dict[str, object], text: str, expected: str) -> None:
    if "\u0307" not in text:
        assert normalise(text, TextConfig()) == " ".join(text.split())
    assert normalise(text, TextConfig(**options)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "texts", "message"),
    [
        ({"numbers": "words"}, ["deux 2"], r"writes Khmer words unless data\.text\.language is set, and no text has a Khmer"),
        ({"numbers": "words", "language": "sw"}, ["2"], r"language=sw: num2words, .* has no such language\. Expected km or one of am, "),
        ({"numbers": "words"}, ["2", "ក"], None),
        ({"numbers": "words", "language": "km"}, ["2"], None),
        ({"numbers": "words", "language": "nb"}, ["2"], None),
        ({"language": "sw"}, ["2"], None),
    ],
)  # fmt: skip
def test_check(options: dict[str, object], texts: list[str], message: str | None) -> None:
    """Numbers are refused before a run learns Khmer words for them, or fails in the middle."""
    if message is None:
        check_text_options(TextConfig(**options), texts)  # type: ignore[arg-type]
        return
    with pytest.raises(ValueError, match=message):
        check_text_options(TextConfig(**options), texts)  # type: ignore[arg-type]


PRESETS = {
    "latin": ("« L’Été ! » Vingt-deux", "l'été vingt-deux"),
    "cyrillic": ("Э́то — «Дом».", "это дом"),
    "arabic": ("السَّلَامُ، عليـكم", "السلام عليكم"),
    "indic": ("नमस्ते। “क्या”", "नमस्ते क्या"),
    "thai": ("สวัสดี\u200bครับ!", "สวัสดีครับ"),
    "cjk": ("ＡＢ、 中文。", "AB中文"),
    "khmer": ("ស្ដី\u200bOK ២ ផ្សេងៗ។", "ស្តី ពីរ ផ្សេង ផ្សេង"),
}


def test_presets(compose: Callable[..., Config]) -> None:
    """Each preset of data/text, on a text of its script; options on the command line change it."""
    folder = CONF_DIR / "data" / "text"
    assert {path.stem for path in folder.glob("*.yaml")} == PRESETS.keys()
    for name, (text, expected) in PRESETS.items():
        options = TextConfig(**yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")))
        assert normalise(text, options) == expected, name
    options = compose("data=folder", "data/text=latin", "data.text.keep=-").data.text
    assert options == TextConfig(lowercase=True, quotes="plain", punctuation="space", keep="-")


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
