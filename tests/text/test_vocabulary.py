import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.text.vocabulary import BLANK, UNKNOWN, Vocabulary, describe_symbol

KHMER = st.text(st.characters(min_codepoint=0x1780, max_codepoint=0x17FF) | st.just(" "))


@given(st.lists(st.text() | KHMER, min_size=1), st.sampled_from(["code_points", "clusters"]))
def test_round_trip(texts: list[str], units: str) -> None:
    vocabulary = Vocabulary.of_texts(texts, units)
    assert [vocabulary.decode(vocabulary.encode(text)) for text in texts] == texts


def test_order() -> None:
    assert Vocabulary.of_texts(["ខក", " "]).symbols == [BLANK, UNKNOWN, " ", "ក", "ខ"]
    assert Vocabulary.of_texts(["ក ខ"]) == Vocabulary.of_texts([" ខ", "ក"])


def test_unknown() -> None:
    vocabulary = Vocabulary.of_texts(["កខ"])
    assert vocabulary.unknown("កគគ") == {"គ": 2}
    assert vocabulary.encode("កគ") == [2, 1]
    assert vocabulary.decode([2, 1, 0]) == "ក"


def test_repeated_symbol() -> None:
    with pytest.raises(ValueError, match="each symbol once"):
        Vocabulary([BLANK, UNKNOWN, "ក", "ក"])


def test_clusters() -> None:
    vocabulary = Vocabulary.of_texts(["ស្ត្រី កា"], "clusters")
    assert vocabulary.symbols == [BLANK, UNKNOWN, " ", "កា", "ស្ត្រី"]
    again = Vocabulary(vocabulary.symbols)
    assert again.encode("កា ស្ត្រី") == [3, 2, 4]
    assert again.unknown("កិ កា") == {"កិ": 1}


def test_describe_symbol() -> None:
    assert describe_symbol("\u200b") == "'\\u200b' (U+200B)"
    assert describe_symbol("កា") == "'កា' (U+1780 U+17B6)"
