"""Tables of utterances and files of sentences: tab-separated, CSV and JSON Lines, with faulty rows named."""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from khasr.text.counting import counted
from khasr.text.terminal import printable

# A field as pandas or a spreadsheet quotes it: in quotes, with those inside doubled.
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


# Endings of the tables that `read_table` reads, the usual ones first.
TABLE_ENDINGS = (".tsv", ".csv", ".jsonl", ".json", ".ndjson", ".jsonl.gz")

# A compressed table that is larger than this is no table of utterances.
_MOST_BYTES = 2**31


def decode_text(data: bytes, name: str) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        ValueError: bytes that are not UTF-8; the message has the line.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{name}:{line}: byte 0x{data[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        ) from None


def split_lines(text: str) -> list[str]:
    """The lines of a text, ended by LF or CRLF; by CR if the text has no LF.

    Unlike `str.splitlines`, U+2028, U+0085, vertical tabs and the like are part of a line: transcripts contain them.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")] if "\n" in text else text.split("\r")
    return lines[:-1] if lines[-1] == "" else lines


def read_lines(data: bytes, name: str) -> list[str]:
    """The lines of a UTF-8 file, as `split_lines` separates them.

    Raises:
        ValueError: bytes that are not UTF-8.
    """
    return split_lines(decode_text(data, name))


@dataclass
class Row:
    """A row of a table.

    Attributes:
        line: number of its first line.
        values: by column; None for what is missing or null.
        problem: why the row cannot be used; empty if it can.
    """

    line: int
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass
class Table:
    """A table as read.

    Attributes:
        format: how it was read, for messages: the separator, and how quotes were treated.
        looks_quoted: number of fields that look quoted although quotes were read literally.
    """

    columns: list[str]
    rows: list[Row]
    format: str
    looks_quoted: int = 0


def read_table(data: bytes, name: str, quoting: str = "literal") -> Table:
    """A table with a header: JSON Lines for .jsonl and .json, CSV for .csv, otherwise tab-separated.

    CSV is separated by commas; by semicolons or tabs if the header has no comma, as spreadsheets write it in languages
    with a decimal comma. `.gz` after the ending means compressed by gzip.

    Args:
        quoting: of tab-separated tables: `literal` takes quotes as text, `csv` as CSV quotes.

    Raises:
        ValueError: bytes that are not UTF-8 or not gzip, a column that occurs twice, or a JSON array.
    """
    lowered = name.lower()
    if lowered.endswith(".gz"):
        data, lowered = _unpacked(data, name), lowered.removesuffix(".gz")
    text = decode_text(data, name)
    ending = lowered.rsplit(".", 1)[-1]
    if ending in ("jsonl", "ndjson", "json"):
        return _read_json_lines(text, name)
    if ending == "csv" or quoting == "csv":
        separator = _separator(text) if ending == "csv" else "\t"
        records = list(_csv_records(text, separator, name))
        kind = f"{_SEPARATORS[separator]}-separated, quotes as in CSV"
    else:
        records = [(number, line.split("\t")) for number, line in enumerate(split_lines(text), 1) if line.strip(" ")]
        kind = "tab-separated, quotes literal"
    if not records:
        return Table([], [], kind)
    columns = [column.strip() for column in records[0][1]]
    repeated = next((column for column, count in Counter(columns).items() if count > 1), None)
    if repeated is not None:
        raise ValueError(f"{name}:{records[0][0]}: column '{printable(repeated, 40)}' occurs twice.")
    rows = [_row(number, fields, columns) for number, fields in records[1:]]
    quoted = 0 if "literal" not in kind else _count_quoted([fields for _, fields in records])
    return Table(columns, rows, kind, quoted)


_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


def _separator(text: str) -> str:
    header = re.split("[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    return next((mark for mark in _SEPARATORS if mark in header), ",")


def _unpacked(data: bytes, name: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            unpacked = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{name} cannot be unpacked by gzip ({error}). Expected a complete .gz file.") from None
    if len(unpacked) > _MOST_BYTES:
        raise ValueError(f"{name} unpacks to more than {_MOST_BYTES:,} bytes, the most that a table can have.")
    return unpacked


def _row(number: int, fields: Sequence[str], columns: Sequence[str]) -> Row:
    if len(fields) != len(columns):
        shown = printable(" | ".join(fields), 80)
        return Row(number, problem=f"it has {counted(len(fields), 'field')}, the header has {len(columns)}: {shown}")
    return Row(number, dict(zip(columns, fields, strict=True)))


def _csv_records(text: str, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yields records with their first line; a quoted field may contain line ends."""
    csv.field_size_limit(sys.maxsize)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    # Strict: otherwise an open quote would take all rows below it into its field.
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator, strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f'{name}:{line}: the row cannot be read ({error}). Expected CSV quotes: "...", doubled inside.'
        ) from None


def _count_quoted(records: Sequence[Sequence[str]]) -> int:
    """Fields that look quoted: with doubled quotes inside, or all fields of the header and the first row."""
    quoted = [f for fields in records for f in fields if len(f) > 1 and f[0] == f[-1] == '"' and _QUOTED.fullmatch(f)]
    certain = any('""' in f[1:-1] for f in quoted) or all(_QUOTED.fullmatch(f) for f in records[0])
    # A quoted field with a line end is cut, so that it starts with a quote and never ends with one.
    return len(quoted) if certain else 0


def _read_json_lines(text: str, name: str) -> Table:
    if text.lstrip()[:1] == "[":
        raise ValueError(
            f"{name}:1: a JSON array, where JSON Lines are expected: one object {{...}} per line. "
            "`jq -c '.[]' FILE > FILE.jsonl` converts it."
        )
    columns: dict[str, None] = {}
    rows = []
    for number, line in enumerate(split_lines(text), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            rows.append(Row(number, problem=f"it is not JSON ({error}): {printable(line, 80)}"))
            continue
        if not isinstance(values, dict):
            rows.append(Row(number, problem=f"it is not a JSON object: {printable(line, 80)}"))
            continue
        columns |= dict.fromkeys(values)
        rows.append(Row(number, values))
    return Table(list(columns), rows, "JSON Lines")


def as_text(value: Any) -> str:
    """A table's value as stripped text; empty for what is missing (None and NaN, but not 0).

    Raises:
        ValueError: a list, an object or bytes.
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, list | tuple | dict | bytes):
        shown = printable(str(value), 80)
        raise ValueError(f"a field is a {type(value).__name__}, where text is expected: {shown}")
    return str(value).strip()
