from hypothesis import given
from hypothesis import strategies as st

from khasr.text.segment import segment_words
from tests.conftest import SHARED, needs_shared

KHMER = st.text(st.characters(min_codepoint=0x1780, max_codepoint=0x17FF) | st.sampled_from(" \u200b។a1.,"))


@given(KHMER | st.text())
def test_concatenation(text: str) -> None:
    words = segment_words(text)
    assert "".join(words) == "".join(text.replace("\u200b", " ").split())
    assert all(words)


def test_khmer() -> None:
    assert segment_words("ខ្ញុំចង់ទៅសាលារៀន") == ["ខ្ញុំ", "ចង់", "ទៅ", "សាលារៀន"]


def test_other_scripts() -> None:
    assert segment_words("នៅឆ្នាំ១៩៩៣។ LibreOffice 3.5ៗ") == ["នៅ", "ឆ្នាំ", "១៩៩៣", "។", "LibreOffice", "3.5", "ៗ"]


def test_zero_width_spaces() -> None:
    # Without them ទៅសាលារៀន would be two words.
    assert segment_words("ខ្ញុំ\u200bចង់\u200bទៅសាលារៀន\u200b ABC។") == ["ខ្ញុំ", "ចង់", "ទៅសាលារៀន", "ABC។"]


@needs_shared
def test_openslr_42() -> None:
    """An F1 over 0.9 on the word boundaries of OpenSLR 42."""
    lines = (SHARED / "data/slr42_text/line_index.tsv").read_text(encoding="utf-8").splitlines()[::5]
    found = wrong = missed = 0
    for line in lines:
        words = line.split("\t")[-1].split()
        truth, guess = _boundaries(words), _boundaries(segment_words("".join(words)))
        found += len(truth & guess)
        wrong += len(guess - truth)
        missed += len(truth - guess)
    assert 2 * found / (2 * found + wrong + missed) > 0.9


def _boundaries(words: list[str]) -> set[int]:
    ends, position = set(), 0
    for word in words[:-1]:
        position += len(word)
        ends.add(position)
    return ends


def test_long_stretch() -> None:
    words = segment_words("គេចាត់ថា\u200bខ្ញុំចង់ទៅសាលារៀន\u200bនោះ")
    assert words == ["គេចាត់ថា", "ខ្ញុំ", "ចង់", "ទៅ", "សាលារៀន", "នោះ"]
