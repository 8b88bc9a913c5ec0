import random
from collections.abc import Callable

import pytest

from khasr.lm.held_out import HeldOut, fold

WORDS = [
    "ខ្ញុំ", "បាន", "ទៅ", "ផ្សារ", "ទីក្រុង", "កម្ពុជា", "តម្លៃ", "សាលារៀន", "ឱ្យ", "គោរព", "ជើង", "ប្រទេស", "ថ្ងៃនេះ", "រដ្ឋ", "ស្ត្រី", "មនុស្ស",
]  # fmt: skip


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(6, 12))) for _ in range(count)]


def look_alike(text: str) -> str:
    """The text with coeng-DA for coeng-TA, vowels in two parts, and the other spelling of a word."""
    pairs = [("\u17d2\u178f", "\u17d2\u178a"), ("\u17c4", "\u17c1\u17b6"), ("\u17be", "\u17c1\u17b8"), ("ឱ្យ", "ឲ្យ")]
    for one, other in pairs:
        text = text.replace(one, other)
    return text


VAL, TEST, OTHER = sentences(30, 1), sentences(30, 2), sentences(300, 3)
CHANGES: dict[str, Callable[[str], str]] = {
    "as it is": lambda s: s,
    "no spaces": lambda s: s.replace(" ", ""),
    "zero-width spaces": lambda s: s.replace(" ", "\u200b"),
    "other spaces": lambda s: "\u2060".join(s).replace(" ", "\u00a0"),
    "punctuation": lambda s: f"«{s.replace(' ', ', ')}»៖",
    "inside a line": lambda s: f"{OTHER[0]} {s} {OTHER[1]}",
    "joined": lambda s: s + TEST[0],
    "look-alikes": look_alike,
    "look-alikes inside a line": lambda s: f"{OTHER[2]}{look_alike(s)}",
    "without its last word": lambda s: s.rsplit(" ", 1)[0],
}


@pytest.mark.parametrize("change", CHANGES)
def test_found(change: str) -> None:
    """Each sentence of val is found, and the sentence of test that it is joined with."""
    index = HeldOut({"val": VAL, "test": TEST})
    for sentence in VAL:
        changed = CHANGES[change](sentence)
        assert change in ("as it is", "without its last word") or changed != sentence or change == "look-alikes"
        assert index.parts_in(changed) >= ({"val", "test"} if change == "joined" else {"val"})


def test_others_are_kept() -> None:
    """Random sentences of the same 16 words have phrases in common, but are not held-out sentences."""
    index = HeldOut({"val": VAL, "test": TEST})
    assert sum(bool(index.parts_in(sentence)) for sentence in OTHER) <= 3
    assert index.parts_in("") == index.parts_in("។") == set()


def test_short_sentences() -> None:
    """A short sentence is found as a whole line, and not inside others."""
    index = HeldOut({"val": ["ក ខ", ""]})
    assert index.parts_in("កខ។") == {"val"}
    assert index.parts_in("ក ខ គ ឃ") == set()


def test_fold() -> None:
    assert fold("Ab ១ក\u200bខ។") == fold("aB១ ក ខ")
    assert fold(fold("ស្ត្រី ជេីង")) == fold("ស្ដ្រី ជើង")
