import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.text.vocabulary import BLANK, UNKNOWN, Vocabulary


@given(st.lists(st.text(), min_size=1))
def test_decode_undoes_encode(texts: list[str]) -> None:
    vocabulary = Vocabulary.of_texts(texts)
    assert [vocabulary.decode(vocabulary.encode(text)) for text in texts] == texts


def test_blank_is_label_0_and_order_does_not_depend_on_the_texts() -> None:
    assert Vocabulary.of_texts(["ខក", " "]).symbols == [BLANK, UNKNOWN, " ", "ក", "ខ"]
    assert Vocabulary.of_texts(["ក ខ"]) == Vocabulary.of_texts([" ខ", "ក"])


def test_a_symbol_outside_is_counted_and_becomes_unknown() -> None:
    vocabulary = Vocabulary.of_texts(["កខ"])
    assert vocabulary.unknown("កគគ") == {"គ": 2}
    assert vocabulary.encode("កគ") == [2, 1]
    assert vocabulary.decode([2, 1, 0]) == "ក"


def test_a_repeated_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match="each symbol once"):
        Vocabulary([BLANK, UNKNOWN, "ក", "ក"])
