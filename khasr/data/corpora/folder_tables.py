"""The tables of a folder: which files they are, which part each holds, and which columns have what."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from khasr.config import FolderConfig
from khasr.data.corpora.corpus import PART_NAMES
from khasr.data.corpora.lhotse_cuts import FORMAT as LHOTSE_CUTS
from khasr.data.tables import TABLE_ENDINGS, Table
from khasr.text.counting import counted
from khasr.text.terminal import printable

DEFAULT_TABLE = "utterances.tsv"

# The tables of Hugging Face's AudioFolder; with one in each folder of a part, or one for all.
METADATA = ("metadata.csv", "metadata.jsonl")

# Common Voice: its folder of audio, and the table of all usable recordings.
CLIPS, _VALIDATED = "clips", "validated.tsv"

# Where a column of the default name is missing, the names that other tools write: AudioFolder, NeMo, Common Voice,
# DeepSpeech.
_AUDIO_COLUMNS = (
    "file_name", "audio_filepath", "path", "file", "filename", "audio_path", "audio_file", "wav_filename", "wav",
)  # fmt: skip
_TEXT_COLUMNS = ("transcription", "sentence", "transcript")
_SPEAKER_COLUMNS = ("speaker_id", "client_id", "spk_id")
_SPLIT_COLUMNS = ("subset",)

# NeMo cuts audio to the duration of the manifest, also where it states no offset.
_NEMO_AUDIO = "audio_filepath"

# Names that a message lists.
_SHOWN = 8


@dataclass(frozen=True)
class TableFile:
    """A table of a folder.

    Attributes:
        part: train, val or test if the table, or its folder, is named after one; else empty.
    """

    path: Path
    part: str = ""


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns; None for what it does not have."""

    audio: str
    text: str
    speaker: str | None
    split: str | None
    offset: str | None
    duration: str | None
    channel: str | None = None

    @property
    def used(self) -> list[str]:
        """All names."""
        names = (self.audio, self.text, self.speaker, self.split, self.offset, self.duration, self.channel)
        return [name for name in names if name is not None]


# --------------------------------------------------------------------------------------------------------------- files


def find_tables(root: Path, options: FolderConfig) -> list[TableFile]:
    """The tables that data.table names, else the first of these that the folder has.

    utterances.tsv; AudioFolder's metadata in the folder; tables named after parts (train.tsv, dev.tsv, test.tsv, as in
    Common Voice, or train_manifest.json, as for NeMo); metadata in the folders of parts; Common Voice's validated.tsv;
    the only table in the folder.

    Raises:
        FileNotFoundError: no such folder or table, or several tables to choose from.
        ValueError: data.table is neither a name nor a list of names.
    """
    if not root.is_dir():
        if root.is_file():
            raise FileNotFoundError(
                f"data.root={options.root} is a file. Expected its folder: data.root={root.parent} "
                f"data.table={root.name}."
            )
        raise FileNotFoundError(f"data.root={options.root} is not a folder. Expected the folder of the recordings.")
    if options.table is not None:
        return _named_tables(root, options)
    for name in (DEFAULT_TABLE, *METADATA):
        if (root / name).is_file():
            return [TableFile(root / name)]
    files = sorted(path for path in root.iterdir() if path.name.endswith(TABLE_ENDINGS) and path.is_file())
    of_parts = [TableFile(path, part) for path in files if (part := _part_of(path.name))]
    if of_parts:
        # A folder may have the same tables in two formats.
        counts = Counter(table.path.suffix for table in of_parts)
        usual = max(sorted(counts, reverse=True), key=lambda ending: counts[ending])
        return [table for table in of_parts if table.path.suffix == usual]
    below = [TableFile(path, part) for name in METADATA for path in sorted(root.glob(f"*/{name}"))
             if (part := PART_NAMES.get(path.parent.name.lower(), ""))]  # fmt: skip
    if below:
        return below
    if (root / CLIPS).is_dir() and (root / _VALIDATED).is_file():
        return [TableFile(root / _VALIDATED)]
    if len(files) == 1:
        return [TableFile(files[0])]
    raise FileNotFoundError(_no_table(root, options, files))


def _named_tables(root: Path, options: FolderConfig) -> list[TableFile]:
    names = [options.table] if isinstance(options.table, str) else options.table
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"data.table={options.table}: expected the name of a table or a list of names, [A.tsv,B.tsv].")
    found: dict[Path, TableFile] = {}
    for name in names:
        paths = [root / name]
        if not paths[0].is_file() and re.search(r"[*?\[]", name) and not name.startswith("/"):
            paths = sorted(path for path in root.glob(name) if path.is_file())
        if not paths or not paths[0].is_file():
            raise FileNotFoundError(
                f"data.table={name} is not a file in {options.root}. Expected a table with the columns audio, text and "
                "speaker: tab-separated, or .csv, or .jsonl."
            )
        found |= {path: TableFile(path, _part_of(path.name)) for path in paths}
    return list(found.values())


def _part_of(name: str) -> str:
    """The part that a file's name begins or ends with: train in train_manifest.json, val in my-dev.tsv."""
    words = re.split(r"[_\-.\s]+", name.lower().removesuffix(".gz").rsplit(".", 1)[0])
    return next((PART_NAMES[word] for word in (words[0], words[-1]) if word in PART_NAMES), "")


def _no_table(root: Path, options: FolderConfig, files: Sequence[Path]) -> str:
    if files:
        there = _listed([path.name for path in files])
        return (
            f"data.root={options.root} has {len(files)} tables, none of which is {DEFAULT_TABLE} or named after a part "
            f"(train, dev, test): {there}. data.table=NAME or data.table=[NAME,NAME] chooses."
        )
    patterns = [f"{depth}/*{ending}" for depth in ("*", "*/*") for ending in TABLE_ENDINGS]
    below = sorted(
        (path for pattern in patterns for path in root.glob(pattern)),
        key=lambda path: (path.name not in (DEFAULT_TABLE, *METADATA) and not _part_of(path.name), path),
    )
    hint = f" {below[0]} may be one: data.root={below[0].parent}." if below else ""
    return (
        f"data.root={options.root} has no {DEFAULT_TABLE} or other table.{hint} Expected a table with the columns "
        "audio, text and speaker: tab-separated, or .csv, or .jsonl. data.table=NAME sets its name."
    )


# ------------------------------------------------------------------------------------------------------------- columns


def find_columns(table: Table, path: Path, options: FolderConfig) -> Columns:
    """The columns that the options name; where one of a default name is missing, those that other tools write.

    Raises:
        ValueError: a column is missing.
    """
    default = FolderConfig

    def one_of(name: str | None, usual: str | None, others: Sequence[str] = ()) -> str | None:
        if name is None or name != usual or name in table.columns:
            return name
        return next((other for other in others if other in table.columns), None)

    audio = one_of(options.audio_column, default.audio_column, _AUDIO_COLUMNS) or options.audio_column
    text = one_of(options.text_column, default.text_column, _TEXT_COLUMNS) or options.text_column
    offset = one_of(options.offset_column, default.offset_column)
    duration = one_of(options.duration_column, default.duration_column)
    if offset is None and audio != _NEMO_AUDIO and options.duration_column == default.duration_column:
        duration = None  # information only
    columns = Columns(
        audio,
        text,
        one_of(options.speaker_column, default.speaker_column, _SPEAKER_COLUMNS),
        one_of(options.split_column, default.split_column, _SPLIT_COLUMNS),
        offset,
        duration,
        "channel" if table.format == LHOTSE_CUTS else None,
    )
    missing = [name for name in columns.used if name not in table.columns]
    if missing:
        there = ", ".join(printable(name, 40) for name in table.columns[:20]) or "nothing"
        raise ValueError(
            f"{path}:1: no column {', '.join(missing)}; it has {there} (read as {table.format}). Name the columns with "
            "data.audio_column, data.text_column and data.speaker_column (null if there is none); the ending .csv or "
            ".jsonl, or data.quoting=csv, changes how the table is read."
        )
    return columns


def describe_tables(root: Path, tables: Sequence[tuple[TableFile, Table, Columns]]) -> list[str]:
    """How the tables were read, as notes: nothing for an utterances.tsv with columns of the default names."""
    notes: dict[tuple[str, ...], list[str]] = {}
    usual = [FolderConfig.audio_column, FolderConfig.text_column, FolderConfig.speaker_column]
    for file, table, columns in tables:
        if len(tables) == 1 and file.path.name == DEFAULT_TABLE and columns.used == usual:
            return []
        name = str(file.path.relative_to(root)) if file.path.is_relative_to(root) else str(file.path)
        part = f"{file.part}, " if file.part and columns.split is None else ""
        key = (table.format, _describe_columns(table, columns))
        notes.setdefault(key, []).append(f"{name} ({part}{counted(len(table.rows), 'row')})")
    return [f"{root}: read {', '.join(names)}, {format_}. {columns}" for (format_, columns), names in notes.items()]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, 40) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _describe_columns(table: Table, columns: Columns) -> str:
    roles = (
        ("audio", columns.audio), ("text", columns.text), ("speaker", columns.speaker), ("part", columns.split),
        ("start of a segment", columns.offset), ("its duration", columns.duration),
    )  # fmt: skip
    found = ", ".join(f"{role} = {printable(name, 40)}" for role, name in roles if name is not None)
    unused = [name for name in table.columns if name not in columns.used]
    options = ["audio_column", "text_column", "speaker_column"] + ["split_column"] * (columns.split is not None)
    options += ["offset_column", "duration_column"] if columns.duration or columns.offset else []
    rest = ("; no speaker" if columns.speaker is None else "") + (f"; not used: {_listed(unused)}" if unused else "")
    return (
        f"Columns: {found}{rest}. "
        f"{', '.join(f'data.{option}' for option in options[:-1])} and data.{options[-1]} name others."
    )
