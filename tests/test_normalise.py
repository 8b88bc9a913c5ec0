import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from khasr.config import TextConfig
from khasr.text.normalise import normalise
from tests.conftest import SHARED, needs_shared

OPTIONS = st.builds(
    TextConfig, unicode_form=st.sampled_from(["NFC", "NFKC", "none"]), lowercase=st.booleans(), unknown_symbols=st.just("map")
)  # fmt: skip
KHMER = st.text(st.characters(min_codepoint=0x1780, max_codepoint=0x17FF) | st.just(" "))


@given(st.text(), OPTIONS)
def test_normalising_twice_changes_nothing_more(text: str, options: TextConfig) -> None:
    once = normalise(text, options)
    assert normalise(once, options) == once


@given(KHMER)
def test_no_khmer_letter_vowel_or_coeng_is_deleted(text: str) -> None:
    def kept(s: str) -> list[str]:
        return sorted(c for c in unicodedata.normalize("NFC", s) if not c.isspace())

    assert kept(normalise(text, TextConfig())) == kept(text)


def test_white_space_becomes_single_spaces() -> None:
    assert normalise("  ក\u00a0 ខ\t\n", TextConfig()) == "ក ខ"


@needs_shared
def test_only_double_spaces_of_openslr_42_change() -> None:
    changed = 0
    for line in (SHARED / "data/slr42_text/line_index.tsv").read_text(encoding="utf-8").splitlines():
        text = line.split("\t")[-1]
        assert normalise(text, TextConfig()).split() == text.split()
        changed += normalise(text, TextConfig()) != text
    assert changed > 0
