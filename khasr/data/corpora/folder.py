"""A folder with a table of audio, text and speaker."""

import csv
from pathlib import Path

from khasr.config import FolderConfig
from khasr.data.corpora.corpus import Corpus, Fault, Utterance
from khasr.data.corpora.files import Audio, decode_audio, digest, read_table, stamps


def read_folder(options: FolderConfig) -> Corpus:
    """The table's utterances, in its order; an id is the audio's path without its ending.

    Raises:
        FileNotFoundError: no such folder or table.
        ValueError: a table without the columns.
    """
    if options.root is None:
        raise FileNotFoundError(
            f"data.root is not set. data=folder reads {options.table} (columns {options.audio_column}, "
            f"{options.text_column}, {options.speaker_column}) from it: pass data.root=DIR."
        )
    root = Path(options.root).expanduser()
    table = root / options.table
    if not table.is_file():
        what = f"has no {options.table}" if root.is_dir() else "is not a folder"
        raise FileNotFoundError(
            f"data.root={options.root} {what}. Expected a tab-separated table with the columns {options.audio_column}, "
            f"{options.text_column}, {options.speaker_column}; data.table=NAME reads another."
        )
    data = table.read_bytes()
    # Quotes are text here: a transcript may open with one and never close it.
    rows = csv.DictReader(read_table(data, str(table)), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = [options.audio_column, options.text_column]
    if options.speaker_column is not None:
        columns.append(options.speaker_column)
    lacking = [c for c in columns if c not in (rows.fieldnames or [])]
    if lacking:
        raise ValueError(
            f"{table}:1: no column {', '.join(lacking)}; it has {', '.join(rows.fieldnames or ['nothing'])}. Name the "
            "columns with data.audio_column, data.text_column and data.speaker_column (null where there is none)."
        )
    utterances: list[Utterance] = []
    faults: list[Fault] = []
    paths: dict[str, Path] = {}
    for row in rows:
        where = f"{table}:{rows.line_num}"
        audio, text = (row[options.audio_column] or "").strip(), (row[options.text_column] or "").strip()
        id_ = str(Path(audio).with_suffix("")) if audio else ""
        path = root / audio
        if id_ in paths:
            faults.append(Fault(id_, "its id occurs twice", f"{where}: {audio} occurs a second time"))
        elif not audio or not path.is_file():
            faults.append(Fault(id_ or where, "no audio", f"{where}: {audio or 'an empty field'} is no file in {root}"))
        elif not text:
            faults.append(Fault(id_, "no text", f"{where}: {audio} has no text"))
        else:
            speaker = (row[options.speaker_column] or "").strip() if options.speaker_column else ""
            paths[id_] = path
            utterances.append(Utterance(id_, text, speaker, where))

    def read_audio(utterance: Utterance) -> Audio:
        return decode_audio(paths[utterance.id])

    return Corpus(
        root.resolve().name, utterances, read_audio, digest(data, columns, stamps(list(paths.values()))), faults
    )
