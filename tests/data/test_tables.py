import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.data.tables import as_text, read_table, split_lines
from khasr.text.terminal import printable

HEAD = "audio\ttext\n"


@given(st.lists(st.text(st.characters(exclude_characters="\n\r"), min_size=1)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_split_lines(lines: list[str], end: str) -> None:
    """Only LF, CRLF, or CR throughout end a line; U+2028, U+0085 and vertical tabs do not."""
    assert split_lines("".join(line + end for line in lines)) == lines


def test_carriage_return_in_line() -> None:
    assert split_lines("a\rb\nc\r\n") == ["a\rb", "c"]


@pytest.mark.parametrize(
    ("name", "data", "quoting", "texts", "problems"),
    [
        ("t.tsv", HEAD + "a\tx\u2028y\x0bz\n", "literal", ["x\u2028y\x0bz"], []),
        ("t.tsv", HEAD + "a\tx\ty\nb\tz\n", "literal", ["z"], [(2, "it has 3 fields, the header has 2")]),
        ("t.tsv", HEAD + "a\n", "literal", [], [(2, "it has 1 field, the header has 2")]),
        ("t.tsv", HEAD + 'a\t"open\nb\tz\n', "literal", ['"open', "z"], []),
        ("t.tsv", HEAD + 'a\t"x ""y"""\n', "csv", ['x "y"'], []),
        ("t.tsv", HEAD + 'a\t"x\ty"\n', "csv", ["x\ty"], []),
        ("t.csv", 'audio,text\na,"x, y\nz"\nb,w,v\n', "literal", ["x, y\nz"], [(4, "it has 3 fields")]),
        ("t.jsonl", '{"audio":"a","text":0}\n\n{"audio":"b"\n[1]\n', "literal", [0], [(3, "not JSON"), (4, "not a JSON object")]),
    ],
)  # fmt: skip
def test_read_table(name: str, data: str, quoting: str, texts: list[object], problems: list[tuple[int, str]]) -> None:
    table = read_table(data.encode(), name, quoting)
    assert [row.values["text"] for row in table.rows if not row.problem] == texts
    found = [row for row in table.rows if row.problem]
    assert [row.line for row in found] == [line for line, _ in problems]
    assert all(why in row.problem for row, (_, why) in zip(found, problems, strict=True))


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ('a\t"x ""y"" z"\nb\tw\n', 1),
        ('a\t"a sentence in quotes."\nb\tw\n', 0),
        ('a\t"open\n', 0),
    ],
)
def test_looks_quoted(rows: str, count: int) -> None:
    """Doubled quotes are a sign of CSV; a transcript in quotes, as in Common Voice, is not."""
    assert read_table((HEAD + rows).encode(), "t.tsv").looks_quoted == count


@pytest.mark.parametrize("row", ['b,"open,s\nc,x\n', 'b,"closed"early,s\n'])
def test_csv_quotes(row: str) -> None:
    """An open quote would take the rows below into its field; the message has the line that it is in."""
    with pytest.raises(ValueError, match=r"t\.csv:3: the row cannot be read \(.*\)\. Expected CSV quotes"):
        read_table(f"audio,text\na,x\n{row}".encode(), "t.csv")


def test_large_field() -> None:
    table = read_table(f"audio,text\na,{'x' * 10_000_000}\n".encode(), "t.csv")
    assert len(table.rows[0].values["text"]) == 10_000_000


def test_repeated_column() -> None:
    with pytest.raises(ValueError, match=r"t\.tsv:1: column 'text' occurs twice"):
        read_table(b"audio\ttext\ttext\n", "t.tsv")


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (None, ""), (float("nan"), ""), (" a ", "a"), (1.5, "1.5")])
def test_as_text(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize("value", [["a"], {"text": "a"}, b"a"])
def test_not_text(value: object) -> None:
    with pytest.raises(ValueError, match="where text is expected"):
        as_text(value)


def test_printable() -> None:
    assert printable("a\x1b[2Jb\n\u2028\u202e\udcff ខ្ញុំ\u200b") == "a\\x1b[2Jb\\n\\u2028\\u202e\\udcff ខ្ញុំ\u200b"
    assert printable("abcdef", 4) == "abc…"
