"""A folder with tables of audio, text and speaker, or of segments of longer recordings."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from khasr.config import FolderConfig
from khasr.data.audio_file import Recording, decode_audio
from khasr.data.corpora.corpus import PART_NAMES, Corpus, Utterance, UtteranceList
from khasr.data.corpora.files import digest, stamps
from khasr.data.corpora.folder_tables import (
    CLIPS,
    METADATA,
    Columns,
    TableFile,
    describe_tables,
    find_columns,
    find_tables,
)
from khasr.data.corpora.lhotse_cuts import flatten_cuts
from khasr.data.segments import Segment, SegmentReader
from khasr.data.tables import Table, as_text, read_table
from khasr.text.terminal import printable

# Longest name in a folder on the usual file systems, in bytes.
_LONGEST_NAME = 255

# The part of a row whose field in the column of parts is empty.
_NO_PART = "(none)"


def read_folder(options: FolderConfig) -> Corpus:
    """The utterances of the tables, in their order; an id is the audio's path without its ending, and its segment.

    Raises:
        FileNotFoundError: no such folder or table.
        ValueError: a table that is not UTF-8, or without the columns.
    """
    if options.root is None:
        raise FileNotFoundError(
            "data.root is not set. data=folder reads audio files, and a table of audio, text and speaker, from it: "
            "pass data.root=DIR."
        )
    root = Path(options.root).expanduser()
    read: list[tuple[TableFile, Table, Columns]] = []
    parts: list[object] = []  # of the fingerprint
    notes = []
    for file in find_tables(root, options):
        data = file.path.read_bytes()
        table = flatten_cuts(read_table(data, str(file.path), options.quoting))
        read.append((file, table, find_columns(table, file.path, options)))
        parts += [data, read[-1][2].used, *([file.part] if file.part else [])]
        if table.looks_quoted:
            notes.append(
                f"{file.path}: quotes around fields ({table.looks_quoted:,}), as in CSV, are read literally. "
                "data.quoting=csv reads them as CSV."
            )
    found = _Rows(root)
    for file, table, columns in read:
        found.add_table(file, table, columns)
    segments = SegmentReader()

    def read_audio(utterance: Utterance) -> Recording:
        path, segment = found.places[utterance.id]
        return decode_audio(path) if segment is None else segments.read(path, segment)

    paths = list(dict.fromkeys(path for path, _ in found.places.values()))
    key = digest(*parts, stamps(paths), *([] if options.quoting == "literal" else ["csv"]))
    notes = describe_tables(root, read) + notes
    return Corpus(root.resolve().name, found.list.utterances, read_audio, key, found.list.faults, notes)


class _Rows:
    """Collects the rows of tables as utterances.

    Attributes:
        places: the file and the segment of each utterance; the segment is None for a whole file.
    """

    def __init__(self, root: Path) -> None:
        self.list = UtteranceList()
        self.places: dict[str, tuple[Path, Segment | None]] = {}
        self._root = root

    def add_table(self, file: TableFile, table: Table, columns: Columns) -> None:
        folders = [file.path.parent, self._root]
        if (file.path.parent / CLIPS).is_dir():
            folders.insert(0, file.path.parent / CLIPS)
        cut = columns.offset is not None or columns.duration is not None
        count = Counter(str(row.values.get(columns.audio)) for row in table.rows) if cut else Counter[str]()
        in_folders = file.path.name in METADATA and columns.split is None and not file.part
        rows = []
        for row in table.rows:
            where = f"{file.path}:{row.line}"
            if row.problem:
                self.list.fault(where, "a row that cannot be read", where, row.problem)
                continue
            try:
                rows.append(_read_row(row.values, columns, where, file.part))
            except ValueError as error:
                self.list.fault(where, "a row that cannot be read", where, str(error))
        named = {row.audio.split("/", 1)[0].lower() for row in rows}
        for each in rows:
            if in_folders and named <= PART_NAMES.keys():  # AudioFolder: the folders of audio are named after parts
                each.part = PART_NAMES[each.audio.split("/", 1)[0].lower()]
            self._add(each, folders, count[each.audio] > 1)

    def _add(self, row: "_Row", folders: Sequence[Path], several: bool) -> None:
        path = next((path for folder in dict.fromkeys(folders) if (path := _audio_file(folder, row.audio))), None)
        segment = row.segment
        if path is None:
            missing = f"{printable(row.audio, 80) or 'an empty field'} is not a file in {folders[-2]}"
            id_ = row.audio or row.where
        else:
            missing, id_ = "", self._id_of(row.audio, folders[-2])
        if segment is not None and (segment.start or several):
            end = "" if segment.end is None else f"-{_seconds(segment.end)}"
            id_ += f"@{_seconds(segment.start)}{end}" + (f"#{segment.channel}" if segment.channel else "")
        if self.list.add(Utterance(id_, row.text, row.speaker, row.where, row.part), missing) and path:
            self.places[id_] = path, segment

    def _id_of(self, audio: str, folder: Path) -> str:
        """The path of an audio file without its ending, relative to the root, so that the ids stay if both move.

        An absolute path that is neither in the root nor beside it stays as it is.
        """
        path = Path(audio).with_suffix("")
        if path.is_absolute():
            for root in (self._root.absolute(), self._root.resolve()):
                if path.is_relative_to(root.parent):
                    return os.path.relpath(path, root)
            return str(path)
        within = folder.relative_to(self._root) if folder.is_relative_to(self._root) else Path()
        return str(within / path)


@dataclass
class _Row:
    audio: str
    text: str
    speaker: str
    part: str
    segment: Segment | None
    where: str


def _read_row(values: Mapping[str, Any], columns: Columns, where: str, part: str) -> _Row:
    """A row's fields as text.

    Raises:
        ValueError: a field is not text, or not a time.
    """
    audio, text = as_text(values.get(columns.audio)), as_text(values.get(columns.text))
    speaker = as_text(values.get(columns.speaker)) if columns.speaker else ""
    if columns.split:
        name = as_text(values.get(columns.split))
        part = PART_NAMES.get(name.lower(), name or _NO_PART)
    segment = None
    if columns.offset or columns.duration:
        start = _time(values, columns.offset) or 0.0
        duration = _time(values, columns.duration)
        if duration == 0:
            raise ValueError(f"its {columns.duration} is 0; expected the seconds of the segment")
        channel = values.get(columns.channel) if columns.channel else None
        segment = Segment(start, None if duration is None else start + duration, channel)
        if segment == Segment():
            segment = None
    return _Row(audio, text, speaker, part, segment, where)


def _time(values: Mapping[str, Any], column: str | None) -> float | None:
    shown = as_text(values.get(column)) if column else ""
    if not shown:
        return None
    try:
        seconds = float(shown)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e7:
        raise ValueError(f"its {column} is {printable(shown, 40)}; expected seconds, at least 0")
    return seconds


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _audio_file(root: Path, audio: str) -> Path | None:
    """The path of a table's audio, or None if it is not a file."""
    if (
        not audio
        or "\0" in audio
        or max(len(part.encode("utf-8", "replace")) for part in audio.split("/")) > _LONGEST_NAME
    ):
        return None
    path = root / audio
    try:
        return path if path.is_file() and Path(audio).name else None
    except OSError:  # a path of over 4096 bytes, or a component that is not a folder
        return None
