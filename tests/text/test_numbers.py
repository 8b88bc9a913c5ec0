import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.text.numbers import spell_numbers


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ("0", "សូន្យ"),
        ("16", "ដប់ ប្រាំមួយ"),
        ("១៩៩៣", "មួយ ពាន់ ប្រាំបួន រយ កៅសិប បី"),
        ("100000", "មួយ សែន"),
        ("25000000", "ម្ភៃ ប្រាំ លាន"),
        ("1,250", "មួយ ពាន់ ពីរ រយ ហាសិប"),
        ("២.៥០០", "ពីរ ពាន់ ប្រាំ រយ"),
        ("9,999.99", "ប្រាំបួន ពាន់ ប្រាំបួន រយ កៅសិប ប្រាំបួន ចុច កៅសិប ប្រាំបួន"),
        ("3.05", "បី ចុច សូន្យ ប្រាំ"),
        ("០,៥", "សូន្យ ក្បៀស ប្រាំ"),
        ("04", "បួន"),
        ("012 345", "សូន្យ ដប់ ពីរ បី រយ សែសិប ប្រាំ"),
        ("12/03/2020", "ថ្ងៃ ទី ដប់ ពីរ ខែ មីនា ឆ្នាំ ពីរ ពាន់ ម្ភៃ"),
        ("2020-03-12", "ថ្ងៃ ទី ដប់ ពីរ ខែ មីនា ឆ្នាំ ពីរ ពាន់ ម្ភៃ"),
        ("ថ្ងៃទី១/២/២០០៣", "ថ្ងៃទី មួយ ខែ កុម្ភៈ ឆ្នាំ ពីរ ពាន់ បី"),
        ("40/40/2020", "សែសិប / សែសិប / ពីរ ពាន់ ម្ភៃ"),
        ("ម៉ោង៧:00", "ម៉ោង ប្រាំពីរ"),
        ("៨:៣០", "ម៉ោង ប្រាំបី សាមសិប នាទី"),
        ("2014-2016", "ពីរ ពាន់ ដប់ បួន ដល់ ពីរ ពាន់ ដប់ ប្រាំមួយ"),
        ("1-2-3", "មួយ - ពីរ - បី"),
        ("-5 x-5", "ដក ប្រាំ x- ប្រាំ"),
        ("50% $5 100 ៛", "ហាសិប ភាគរយ ប្រាំ ដុល្លារ មួយ រយ រៀល"),
        ("1.2.3.4", "មួយ ចុច ពីរ ចុច បី ចុច បួន"),
        ("ឆ្នាំ១៩៩៣។", "ឆ្នាំ មួយ ពាន់ ប្រាំបួន រយ កៅសិប បី ។"),
    ],
)
def test_spell_numbers(figures: str, words: str) -> None:
    assert " ".join(spell_numbers(figures).split()) == words


@given(st.text(st.sampled_from("0123456789០១៩.,:/-$%៛ កt")) | st.text())
def test_only_figures_change(text: str) -> None:
    spelled = spell_numbers(text)
    assert not re.search("[0-9០-៩]", spelled)
    assert spelled.count("t") == text.count("t")


@given(st.integers(0, 10**15 - 1), st.integers(0, 10**15 - 1))
def test_injective(one: int, other: int) -> None:
    assert (spell_numbers(str(one)) == spell_numbers(str(other))) == (one == other)
