"""The elements of the page: tables, cells, pictures and sections."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from khasr.study.utterances import Shown
from khasr.study.wording import amount_of, points, say


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers are aligned to the right."""

    name: str
    number: bool = False


@dataclass(frozen=True)
class TableCell:
    """The text of a cell, the value it is sorted by, its classes and the address it links to."""

    text: str
    sort: str
    kind: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A sortable table."""

    title: str
    columns: list[Column]
    rows: list[list[TableCell]]


@dataclass(frozen=True)
class Picture:
    """A picture embedded in the page."""

    uri: str
    alt: str
    caption: str


@dataclass
class Section:
    """A section of the page; `short` is its name in the navigation."""

    id: str
    short: str
    heading: str
    words: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    utterances: list[tuple[str, list[Shown]]] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------------------------- cells


def columns_of(*names: str) -> list[Column]:
    """Columns by name; a name that starts with # is one of numbers."""
    return [Column(name.removeprefix("#"), name.startswith("#")) for name in names]


def text_cell(value: Any, kind: str = "") -> TableCell:
    text = "" if value is None or value != value else say(value)
    return TableCell(text, repr(value) if isinstance(value, int | float) and text else text, kind)


def number_cell(value: float, digits: int) -> TableCell:
    return TableCell(f"{value:,.{digits}f}", repr(float(value)), "n") if value == value else TableCell("", "", "n")


def percent_cell(value: float) -> TableCell:
    return TableCell(points(value), repr(float(value)), "n") if value == value else TableCell("", "", "n")


def digits_cell(value: float) -> TableCell:
    return TableCell(f"{value:.3g}", repr(float(value)), "n") if value == value else TableCell("", "", "n")


def amount_cell(value: float) -> TableCell:
    return TableCell(amount_of(value), repr(value), "n") if value == value else TableCell("", "", "n")


def needed_cell(count: int | None, known: int) -> TableCell:
    if not known:
        return TableCell("not known", "", "n")
    return TableCell("over 1,000", "1001", "n") if count is None else number_cell(count, 0)


# ---------------------------------------------------------------------------------------------------------------- files


class Pictures:
    """Draws each picture as a PNG file and as SVG for the page."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder = folder
        self._prefix = prefix
        self.written: list[Path] = []

    def add(self, name: str, figure: Figure, alt: str, caption: str) -> Picture:
        path = self._folder / f"{self._prefix}{name}.png"
        figure.savefig(path)
        self.written.append(path)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
        # As an image, in which no script runs and nothing is loaded.
        return Picture(f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}", alt, caption)
