import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.text.syllables import fold_coeng_da, join_vowels, order_syllables, split_clusters
from tests.conftest import SHARED, needs_shared

KHMER = st.text(st.characters(min_codepoint=0x1780, max_codepoint=0x17DD) | st.sampled_from(" \u200c\u200d"))


@given(KHMER | st.text())
def test_order_idempotent(text: str) -> None:
    once = order_syllables(text)
    assert sorted(once) == sorted(text)
    assert order_syllables(once) == once


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ក\u17c6\u17bb", "ក\u17bb\u17c6"),  # a sign before the vowel below
        ("ខ\u17bb\u17d2ញ\u17c6", "ខ\u17d2ញ\u17bb\u17c6"),  # a coeng after the vowel
        ("ស\u17d2រ\u17d2ត\u17b8", "ស\u17d2ត\u17d2រ\u17b8"),  # coeng-RO is the last of the stack
        ("ប\u17b8\u17ca", "ប\u17ca\u17b8"),  # the shifter comes before the vowel
        ("ធម\u17b6\u17cc", "ធម\u17cc\u17b6"),  # robat comes first
        ("ន\u17c7\u17c4", "ន\u17c4\u17c7"),  # the final sign comes last
    ],
)
def test_order(typed: str, stored: str) -> None:
    assert order_syllables(typed) == stored
    assert order_syllables(stored) == stored


def test_order_within_syllables() -> None:
    assert order_syllables("កាខិ គុំ") == "កាខិ គុំ"


@given(KHMER | st.text())
def test_clusters_concatenation(text: str) -> None:
    assert "".join(split_clusters(text)) == text


def test_clusters() -> None:
    assert split_clusters("ខ្ញុំ ស្ត្រីa") == ["ខ្ញុំ", " ", "ស្ត្រី", "a"]


def test_look_alikes() -> None:
    assert join_vowels("ក\u17c1\u17b8 ខ\u17c1\u17b6 គ\u17c1") == "ក\u17be ខ\u17c4 គ\u17c1"
    assert fold_coeng_da("ស\u17d2ដី ដើម") == "ស\u17d2តី ដើម"


@needs_shared
def test_openslr_42() -> None:
    lines = (SHARED / "data/slr42_text/line_index.tsv").read_text(encoding="utf-8").splitlines()
    types = {word for line in lines for word in line.split("\t")[-1].split()}
    assert len(types) == 4347
    assert len(types) - len(set(map(fold_coeng_da, types))) == 31
    assert sum(order_syllables(word) != word for word in types) == 14
