import math
from pathlib import Path

import pytest

from khasr.scoring.hypotheses import Hypothesis, read_hypotheses, sample_evenly, score, write_hypotheses

SOME = [
    Hypothesis("u1", "s1", 1.5, 'ក "ខ គ', 'ក "ខ'),
    Hypothesis("u2", "", 0.25, "ក", ""),
    Hypothesis("=u3", "s2", 2.0, "a\u2028b c", "a\u2028b c d"),
]


def test_written_and_read(tmp_path: Path) -> None:
    """Hypotheses are read back as they were written, with their parts and the texts of a second system."""
    path = tmp_path / "hypotheses.tsv"
    write_hypotheses(path, {"val": SOME[:2], "test": SOME[2:]}, against=SOME[::-1])
    assert read_hypotheses(path) == ({"val": SOME[:2], "test": SOME[2:]}, 0)
    header, *rows = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert header.split("\t")[:6] == ["id", "reference", "hypothesis", "edits", "seconds", "part"]
    assert [row.split("\t")[3] for row in rows] == ["1", "1", "1"]
    assert [row.split("\t")[-1] for row in rows] == [h.hypothesis for h in SOME[::-1]]


def test_control_characters_escaped(tmp_path: Path) -> None:
    """A tab or a line end in an id, or in a foreign model's text, neither shifts a column nor ends a row."""
    path = tmp_path / "hypotheses.tsv"
    write_hypotheses(path, {"test": [Hypothesis("a\tb\r", "s", 1.0, "x", "y\nz")]})
    parts, skipped = read_hypotheses(path)
    assert skipped == 0
    assert [(h.id, h.hypothesis) for h in parts["test"]] == [("a\\tb\\r", "y\\nz")]


@pytest.mark.parametrize("text", ["=1+1", "+a", "-", "@SUM(A1)", "'=a", "''-", "a=b", "'a"])
def test_formulas(text: str, tmp_path: Path) -> None:
    """No id and no text is a formula in a spreadsheet, and all are read back as they were."""
    path = tmp_path / "hypotheses.tsv"
    found = [Hypothesis(text, text, 1.0, text, text)]
    write_hypotheses(path, {"test": found}, against=found)
    cells = path.read_text(encoding="utf-8").split("\n")[1].split("\t")
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert read_hypotheses(path) == ({"test": found}, 0)


@pytest.mark.parametrize(
    ("text", "parts", "skipped"),
    [
        # The file of a run of version 0.1, with a truncated last line.
        ("id\treference\thypothesis\tedits\tseconds\tpart\nu1\tក ខ\tក\t1\t1.000\tval\nu2\tcut\n",
         {"val": [Hypothesis("u1", "", 1.0, "ក ខ", "ក")]}, 1),
        # The file of an evaluation of version 0.1.
        ("id\tspeaker\tseconds\treference\thypothesis\tsubstitutions\tdeletions\tinsertions\r\n"
         "u1\ts1\t1.000\tក\tខ\t1\t0\t0\r\n", {"": [Hypothesis("u1", "s1", 1.0, "ក", "ខ")]}, 0),
        ("id\treference\thypothesis\tseconds\nu1\ta\tb\tlong\nu2\ta\tb\t1\tsurplus\n", {}, 2),
        ("", {}, 0),
    ],
)  # fmt: skip
def test_other_files(text: str, parts: dict[str, list[Hypothesis]], skipped: int, tmp_path: Path) -> None:
    """Files of earlier versions are read; rows that do not match the header are counted."""
    path = tmp_path / "hypotheses.tsv"
    path.write_bytes(text.encode())
    assert read_hypotheses(path) == (parts, skipped)


def test_score() -> None:
    assert score(SOME[:2]) == {"wer": 2 / 4, "cer": 3 / 7, "utterances": 2}
    assert math.isnan(score([])["wer"])


def test_sample_evenly() -> None:
    """The sample contains the worst and the best; all of them if there are fewer."""
    many = [Hypothesis(f"u{i}", "", 1.0, "a b c d", " ".join("abcd"[:i])) for i in range(5)]
    assert [h.edits for h in sample_evenly(many, 3)] == [4, 2, 0]
    assert len(sample_evenly(many, 9)) == 5
