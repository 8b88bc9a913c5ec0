"""A folder with a table of audio, text and speaker."""

from pathlib import Path

from khasr.config import FolderConfig
from khasr.data.audio_file import Recording, decode_audio
from khasr.data.corpora.corpus import Corpus, Utterance, UtteranceList
from khasr.data.corpora.files import digest, stamps
from khasr.data.tables import Table, as_text, read_table
from khasr.text.terminal import printable

# Tables of Hugging Face's AudioFolder, and the columns that they have where khasr's defaults are not found.
_METADATA = ("metadata.csv", "metadata.jsonl")

_AUDIO_COLUMNS = ("file_name", "path", "file")

_TEXT_COLUMNS = ("transcription", "sentence", "transcript")

# Longest name in a folder on the usual file systems, in bytes.
_LONGEST_NAME = 255


def read_folder(options: FolderConfig) -> Corpus:
    """The table's utterances, in its order; an id is the audio's path without its ending.

    Raises:
        FileNotFoundError: no such folder or table.
        ValueError: a table that is not UTF-8, or without the columns.
    """
    if options.root is None:
        raise FileNotFoundError(
            f"data.root is not set. data=folder reads {options.table} (columns {options.audio_column}, "
            f"{options.text_column}, {options.speaker_column}) from it: pass data.root=DIR."
        )
    root = Path(options.root).expanduser()
    path, notes = _find_table(root, options)
    data = path.read_bytes()
    table = read_table(data, str(path), options.quoting)
    audio_column, text_column, speaker_column = _columns(table, path, options)
    found = UtteranceList()
    paths: dict[str, Path] = {}
    for row in table.rows:
        where = f"{path}:{row.line}"
        if row.problem:
            found.fault(where, "a row that cannot be read", where, row.problem)
            continue
        try:
            audio, text = as_text(row.values.get(audio_column)), as_text(row.values.get(text_column))
            speaker = as_text(row.values.get(speaker_column)) if speaker_column else ""
        except ValueError as error:
            found.fault(where, "a row that cannot be read", where, str(error))
            continue
        file = _audio_file(root, audio)
        id_ = str(Path(audio).with_suffix("")) if file else audio or where
        missing = "" if file else f"{printable(audio, 80) or 'an empty field'} is not a file in {root}"
        if found.add(Utterance(id_, text, speaker, where), missing) and file:
            paths[id_] = file

    def read_audio(utterance: Utterance) -> Recording:
        return decode_audio(paths[utterance.id])

    if table.looks_quoted:
        notes.append(
            f"{path}: {table.looks_quoted:,} fields look quoted as in CSV, and are read literally, with their quotes. "
            "data.quoting=csv reads them as CSV."
        )
    columns = [audio_column, text_column, *([] if speaker_column is None else [speaker_column])]
    key = digest(data, columns, stamps(list(paths.values())), *([] if options.quoting == "literal" else ["csv"]))
    return Corpus(root.resolve().name, found.utterances, read_audio, key, found.faults, notes)


def _find_table(root: Path, options: FolderConfig) -> tuple[Path, list[str]]:
    """The table's path, and a note if it is AudioFolder's and not the configured one."""
    table = root / options.table
    if table.is_file():
        return table, []
    if options.table == FolderConfig.table:
        for name in _METADATA:
            if (root / name).is_file():
                return root / name, [f"{root} has no {options.table}; its {name} is read."]
    what = f"has no {options.table}" if root.is_dir() else "is not a folder"
    raise FileNotFoundError(
        f"data.root={options.root} {what}. Expected a table with the columns {options.audio_column}, "
        f"{options.text_column}, {options.speaker_column}: tab-separated, or .csv, or .jsonl. data.table=NAME sets its "
        "name."
    )


def _columns(table: Table, path: Path, options: FolderConfig) -> tuple[str, str, str | None]:
    """The columns of audio, text and speaker; those of AudioFolder if the defaults are not there."""
    audio, text, speaker = options.audio_column, options.text_column, options.speaker_column
    if path.name in _METADATA:
        if audio == FolderConfig.audio_column and audio not in table.columns:
            audio = next((c for c in _AUDIO_COLUMNS if c in table.columns), audio)
        if text == FolderConfig.text_column and text not in table.columns:
            text = next((c for c in _TEXT_COLUMNS if c in table.columns), text)
        if speaker == FolderConfig.speaker_column and speaker not in table.columns:
            speaker = next((c for c in ("speaker_id",) if c in table.columns), None)
    wanted = [c for c in (audio, text, speaker) if c is not None]
    missing = [c for c in wanted if c not in table.columns]
    if missing:
        there = ", ".join(printable(c, 40) for c in table.columns[:20]) or "nothing"
        raise ValueError(
            f"{path}:1: no column {', '.join(missing)}; it has {there} (read as {table.format}). Name the columns with "
            "data.audio_column, data.text_column and data.speaker_column (null if there is none); the ending .csv or "
            ".jsonl, or data.quoting=csv, changes how the table is read."
        )
    return audio, text, speaker


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
