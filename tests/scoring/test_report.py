from collections import Counter
from dataclasses import replace

import pytest

from khasr.scoring.breakdown import by_duration, by_frequency, by_oov, by_speaker
from khasr.scoring.error_rates import RATES, normalised
from khasr.scoring.hypotheses import Hypothesis
from khasr.scoring.report import compare, describe, format_report


def recognised(texts: list[str], speakers: int = 8) -> list[Hypothesis]:
    return [Hypothesis(f"u{i}", f"s{i % speakers}", 2.0, "a b c", text) for i, text in enumerate(texts)]


def test_describe() -> None:
    """Rates with intervals over utterances and speakers, and confusions."""
    found = describe(recognised(["a b c", "a x c"] * 8), Counter("aab"), 500)
    wer = found["rates"]["wer"]
    assert (wer["rate"], wer["count"], wer["substitutions"]["count"]) == (8 / 48, 8, 8)
    assert wer["utterances"][0] < 8 / 48 < wer["utterances"][1]
    assert isinstance(wer["speakers"], list)
    assert found["confusions"] == [{"reference": "b", "hypothesis": "x", "count": 8}]
    found["by"]["speaker"][0]["name"] = 16 * "0123456789abcdef"  # as Common Voice's
    shown = format_report(found | {"run": "R", "part": "test", "data": "x", "decoder": {"name": "greedy"}}, [])
    by_speaker_ = shown.split("WER by speaker")[1].split("\n\n")[0].strip("\n").splitlines()
    assert "0123456789abcdef012..." in by_speaker_[0]
    assert len({line.index(" %") for line in by_speaker_}) == 1
    few = describe(recognised(["a b c"] * 8, speakers=7), None, 100)
    assert "7 groups are too few" in few["rates"]["wer"]["speakers"]


def test_reported_rates() -> None:
    """What concerns Khmer alone is not reported elsewhere, and a normalised WER only where it differs."""
    plain = recognised(["a b c", "a x c"] * 4)
    cased = [replace(h, reference="A, b c.", hypothesis="a b’x C") for h in plain]
    khmer = [replace(h, reference="ក ខ", hypothesis="ក") for h in plain]
    usual = ["wer", "cer", "cer_no_spaces"]
    for some, names in (
        (plain, usual),
        (cased, ["wer", "wer_normalised", *usual[1:]]),
        (khmer, [*usual, "wer_resegmented"]),
    ):
        found = describe(some, None, 50)
        assert list(found["rates"]) == names
        shown = format_report(found | {"run": "R", "part": "test", "data": "x", "decoder": {"name": "greedy"}}, [])
        assert ("render alike" in shown, "wer_normalised: " in shown) == (some is khmer, some is cased)
        assert [name for name in RATES if name in compare(some, some, 50)] == names
    rates = describe(cased, None, 50)["rates"]
    assert (rates["wer"]["count"], rates["wer_normalised"]["count"]) == (3 * 8, 8)


def test_normalised_words() -> None:
    assert normalised("« L’Été, ﬁn - 3 ! »") == ["l'été", "fin", "3"]
    assert normalised("ISI", "tr") == ["ısı"]
    assert normalised("ស្ដី\u200bក។") == normalised("ស្តី ក")


def test_compare() -> None:
    """The difference is paired by utterance, and the utterances that differ are listed."""
    one, other = recognised(["a b c"] * 16), recognised(["a b c", "a x c"] * 8)
    found = compare(one, other, 500)
    assert found["wer"]["utterances"]["value"] == pytest.approx(-8 / 48)
    assert found["wer"]["utterances"]["p"] < 0.01
    assert found["matched_pairs"]["segments"] == 8
    assert [c["id"] for c in found["changed"]] == [f"u{i}" for i in range(1, 16, 2)]
    with pytest.raises(ValueError, match="not scored on the same utterances"):
        compare(one, other[:-1], 100)


def test_breakdowns_complete() -> None:
    """Every breakdown has every utterance, or every reference word, once."""
    some = recognised(["a b c", "a x c", "a"] * 4)
    for rows in (by_speaker(some), by_duration(some), by_oov(some, Counter("ab"))):
        assert sum(r.utterances for r in rows) == 12
        assert sum(r.edits for r in rows) == 4 * 3
    assert sum(r.words for r in by_frequency(some, Counter("ab"))) == 36


def test_oov_classes() -> None:
    some = [Hypothesis("u", "s", 1.0, reference, reference) for reference in ("a", "a x", "x y", "x y z")]
    assert [(r.name, r.utterances) for r in by_oov(some, Counter("a"))] == [
        ("no OOV word", 1), ("1 OOV word", 1), ("2 OOV words or more", 2),
    ]  # fmt: skip
