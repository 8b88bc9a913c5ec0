import pytest

from khasr.text.number_words import spell_figures


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("fr", "71 ans, 1 250,5 euros", "soixante et onze ans, mille deux cent cinquante virgule cinq euros"),
        ("fr", "le 1er, la 1re, le 2e", "le premier , la première , le deuxième"),
        ("fr", "1.000.000 et 1\u202f000", "un million et mille"),
        ("fr", "-5 dix-5", "moins cinq dix- cinq"),
        ("fr-CH", "71", "septante et un"),
        ("en", "the 21st of 1,250.5", "the twenty-first of one thousand two hundred and fifty point five"),
        ("en", "3km 007 10:30", "three km zero zero seven ten : thirty"),
        ("en", "1234567890123", "one two three four five six seven eight nine zero one two three"),
        ("de", "1.234,5", "eintausendzweihundertvierunddreißig Komma fünf"),
        ("th", "มี๑๒คน", "มีสิบสองคน"),
        ("ar", "٢٥", "خمسة و عشرون"),
        ("pt_BR", "16", "dezesseis"),
    ],
)
def test_figures(language: str, text: str, expected: str) -> None:
    assert " ".join(spell_figures(text, language).split()) == expected


def test_no_figures() -> None:
    """Text without figures stays as it is, also Roman numerals and fractions that are one character."""
    assert spell_figures("Louis XIV ½", "fr") == "Louis XIV ½"
