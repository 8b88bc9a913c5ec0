"""Hugging Face audio datasets in Parquet, from the hub or from this machine, decoded without torchcodec."""

import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pyarrow.parquet as pq
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from khasr.config import HubConfig
from khasr.data.audio_file import Recording, decode_audio, record
from khasr.data.corpora.corpus import PART_NAMES, Corpus, Utterance, UtteranceList
from khasr.data.corpora.files import cache_folder, digest, stamps
from khasr.data.tables import as_text


@dataclass
class _Split:
    """A part of a dataset: its rows, and the folder that relative audio paths of each row refer to."""

    table: datasets.Dataset
    first_rows: list[int]
    folders: list[Path]

    def folder_of(self, row: int) -> Path:
        return self.folders[bisect_right(self.first_rows, row) - 1]


@dataclass
class _Source:
    """A dataset: its name for messages, its splits, and what changes when it does."""

    name: str
    splits: dict[str, _Split]
    fingerprint: str
    notes: list[str]


def read_hub(options: HubConfig) -> Corpus:
    """The dataset's utterances, of all its splits; ids are SPLIT/NUMBER, or SPLIT/ID with data.id_column.

    The audio is a column of files (datasets' Audio, structs of bytes and path, or paths relative to the Parquet file)
    or of decoded arrays with their rate ({array, sampling_rate}).

    Raises:
        FileNotFoundError: no dataset where the options say, or the hub does not have it.
        ValueError: a dataset that is a loading script, not readable, or without the columns.
        OSError: the hub cannot be reached.
    """
    source = _open(options)
    found = UtteranceList()
    place: dict[str, tuple[_Split, int]] = {}
    for name, split in source.splits.items():
        table = split.table
        _check_columns(table, options, source.name)
        if isinstance(table.features[options.audio_column], datasets.Audio):
            # Its files as they are: decoding would need torchcodec.
            table = split.table = table.cast_column(options.audio_column, datasets.Audio(decode=False))
        texts, speakers, ids = (
            _column(table, c) for c in (options.text_column, options.speaker_column, options.id_column)
        )
        for row in range(len(table)):
            where = f"{source.name} {name} row {row}"
            try:
                number = f"{row:06d}" if ids is None else as_text(ids[row])
                text = "" if texts is None else as_text(texts[row])
                speaker = "" if speakers is None else as_text(speakers[row])
            except ValueError as error:
                found.fault(where, "a row that cannot be read", where, str(error))
                continue
            if not number:
                found.fault(where, "no id", where, f"its {options.id_column} is empty")
                continue
            id_ = f"{name}/{number}"
            if found.add(Utterance(id_, text, speaker, where, PART_NAMES.get(name, ""))):
                place[id_] = split, row

    def read_audio(utterance: Utterance) -> Recording:
        split, row = place[utterance.id]
        return _read_audio(split.table[row][options.audio_column], split.folder_of(row))

    name = Path(source.name).stem if options.root else source.name.replace("/", "--")
    columns = [options.audio_column, options.text_column, options.speaker_column, options.id_column]
    key = digest(source.fingerprint, columns)
    return Corpus(name, found.utterances, read_audio, key, found.faults, source.notes)


def _read_audio(audio: Any, folder: Path) -> Recording:
    """A row's audio: bytes, a path, a struct of these, or a struct of samples and their rate.

    Raises:
        ValueError: there is none, or it cannot be decoded.
    """
    if isinstance(audio, dict) and audio.get("array") is not None:
        rate = audio.get("sampling_rate")
        if not isinstance(rate, int | float) or not 0 < rate < 1e6:
            raise ValueError(f"its array has the sampling_rate {rate}")
        return record([(_samples(audio["array"]), int(rate))])
    data, path = (audio.get("bytes"), audio.get("path")) if isinstance(audio, dict) else (audio, None)
    if isinstance(data, str):
        data, path = None, data
    if data is not None:
        return decode_audio(io.BytesIO(data))
    if not path:
        raise ValueError("it has no audio")
    file = folder / path
    try:
        there = "\0" not in path and file.is_file()
    except OSError:  # a name that is too long
        there = False
    if not there:
        raise ValueError(f"its audio {path[:80]} is not a file in {folder}")
    return decode_audio(file)


def _samples(values: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Samples as (samples,) or (samples, channels), full scale at 1.

    Raises:
        ValueError: they are not numbers in one or two dimensions.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
        raise ValueError("its array is not of numbers in one or two dimensions")
    if array.ndim == 2 and array.shape[0] < array.shape[1]:  # datasets has (channels, samples)
        array = array.T
    scale = 1.0 if array.dtype.kind == "f" else 2.0**15 if np.abs(array).max(initial=0) <= 2**15 else 2.0**31
    samples: np.ndarray[Any, np.dtype[np.float32]] = (array / scale).astype(np.float32)
    return samples


def _open(options: HubConfig) -> _Source:
    if (options.root is None) == (options.dataset is None):
        raise FileNotFoundError(
            "data=hub needs either data.dataset=ID, a dataset of the Hugging Face hub, or data.root=PATH, a folder "
            f"written by save_to_disk, a Parquet file or a folder of them; got dataset={options.dataset}, "
            f"root={options.root}."
        )
    if not options.files or options.files.startswith("/"):
        raise ValueError(f"data.files={options.files}: expected a pattern relative to the dataset's folder.")
    if options.root is None:
        folder = _fetch(options)
        files = sorted(folder.glob(options.files))
        name = str(options.dataset)
        splits, notes = _read_parquet(files, folder, options, name)
        # The snapshot's folder is named after its commit.
        return _Source(name, splits, digest(folder.name, options.files), notes)
    root = Path(options.root).expanduser()
    if root.is_file():
        splits, notes = _read_parquet([root], root.parent, options, options.root)
        return _Source(options.root, splits, digest(stamps([root])), notes)
    if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
        loaded = _quietly(lambda: datasets.load_from_disk(str(root)), options.root)
        tables = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
        known, notes = _known_parts(Counter(dict.fromkeys(tables, 1)), options.root)
        splits = {known[name]: _Split(table, [0], [root]) for name, table in tables.items() if name in known}
        key = digest(stamps(sorted(root.rglob("*.arrow"))), *(root.rglob("*.json")))
        return _Source(options.root, splits, key, notes)
    files = sorted(path for path in root.glob(options.files) if path.is_file()) if root.is_dir() else []
    if not files:
        what = f"has no files {options.files}" if root.is_dir() else "does not exist"
        scripts = [f.name for f in root.glob("*.py")] if root.is_dir() else []
        raise _no_parquet(options.root, what, scripts)
    splits, notes = _read_parquet(files, root, options, options.root)
    return _Source(options.root, splits, digest(stamps(files)), notes)


def _known_parts(names: Counter[str], source: str) -> tuple[dict[str, str], list[str]]:
    """The split of each name, without those that are not train, validation or test, and a note that names these.

    A single unknown name is all there is, and becomes train.

    Raises:
        ValueError: several names, all of them unknown.
    """
    known = {name: name for name in names if name in PART_NAMES}
    unknown = [name for name in names if name not in PART_NAMES]
    if not known and len(unknown) == 1:
        return {unknown[0]: "train"}, []
    shown = ", ".join(sorted(unknown))
    if not known:
        raise ValueError(
            f"{source} has the parts {shown}, none of which is train, validation or test. data.files=PATTERN selects "
            "the files to read."
        )
    notes = [f"{source}: left out the parts {shown}, which are not train, validation or test."] if unknown else []
    return known, notes


def _no_parquet(source: str, what: str, scripts: Sequence[str]) -> Exception:
    if scripts:
        return ValueError(
            f"{source} is a loading script ({scripts[0]}), which the library `datasets` does not run since version 4. "
            "The hub has a Parquet copy of most: data.revision=refs/convert/parquet with "
            "\"data.files='CONFIG/*/*.parquet'\". Or load it with datasets 3, write it with save_to_disk, and pass "
            "data.root=FOLDER."
        )
    return FileNotFoundError(
        f"{source} {what}. Expected Parquet files (data.files=PATTERN), or a folder written by save_to_disk."
    )


def _fetch(options: HubConfig) -> Path:
    """The dataset's folder on this machine, downloaded if needed; offline, what was downloaded before."""
    source = str(options.dataset)
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                source,
                repo_type="dataset",
                revision=options.revision,
                allow_patterns=[_as_fnmatch(options.files)],
                cache_dir=cache_folder(options) / "hub",
            )
        )
        if not any(folder.glob(options.files)):
            there = huggingface_hub.HfApi().list_repo_files(source, repo_type="dataset", revision=options.revision)
            scripts = [name for name in there if name.endswith(".py")]
            revision = f" (revision {options.revision})" if options.revision else ""
            raise _no_parquet(source, f"has no files {options.files}{revision}", scripts)
    except LocalEntryNotFoundError:
        raise ConnectionError(
            f"{source} is not on this machine, and the Hugging Face hub cannot be reached. data.root=PATH reads a copy."
        ) from None
    except HFValidationError as error:
        raise ValueError(f"data.dataset={source} is not the name of a dataset: {error}") from None
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"The Hugging Face hub has no accessible dataset {source}, revision {options.revision or 'main'} "
            f"({type(error).__name__}). Check the name; a gated dataset needs its terms accepted and `hf auth login`."
        ) from None
    return folder


def _as_fnmatch(pattern: str) -> str:
    # The hub's patterns are those of fnmatch, whose * matches across folders.
    return pattern.replace("**/", "*")


def _read_parquet(
    files: Sequence[Path], folder: Path, options: HubConfig, source: str
) -> tuple[dict[str, _Split], list[str]]:
    """The splits of Parquet files, by the name of a folder or the start of the file's name, and notes."""
    name_of = {file: _part_name(file, folder) for file in files}
    known, notes = _known_parts(Counter(name_of.values()), source)
    by_split: dict[str, list[Path]] = {}
    for file in files:
        if name_of[file] in known:
            by_split.setdefault(known[name_of[file]], []).append(file)
    cache = str(cache_folder(options) / "hub" / "arrow")

    def read(paths: list[Path]) -> _Split:
        names = [str(path) for path in paths]
        table = _quietly(
            lambda: datasets.load_dataset("parquet", data_files=names, split="train", cache_dir=cache), ", ".join(names)
        )
        rows = _quietly(lambda: [pq.ParquetFile(path).metadata.num_rows for path in paths], ", ".join(names))
        return _Split(table, np.cumsum([0, *rows[:-1]]).tolist(), [path.parent for path in paths])

    return {split: read(paths) for split, paths in by_split.items()}, notes


def _part_name(file: Path, folder: Path) -> str:
    """The part that a file's path names: train in train/0000.parquet and in train-00000-of-00001.parquet."""
    parents = file.relative_to(folder).parts[:-1]
    start = file.name.split("-")[0] if "-of-" in file.stem else file.stem
    names = [*reversed(parents), file.name.split("-")[0], file.stem]
    for name in names:
        if name in PART_NAMES:
            return name
    # Shards that are only numbered are named after their folder, if they have one.
    return parents[-1] if parents and start.isdigit() else "train" if start.isdigit() else start


def _quietly(read: Callable[[], Any], source: str) -> Any:
    """The result of `read`, without the library's progress bars and with its errors in one line."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return read()
    except (
        datasets.exceptions.DatasetGenerationError,
        datasets.exceptions.DatasetNotFoundError,
        ValueError,
        OSError,
    ) as error:
        # Arrow's errors of damaged files are an OSError without a number.
        why = str(error.__cause__ or error).strip().splitlines()
        if any(isinstance(e, OSError) and e.errno for e in (error, error.__cause__)):
            raise
        raise ValueError(f"{source} cannot be read as a dataset: {why[0] if why else type(error).__name__}") from None
    finally:
        if shown:
            datasets.enable_progress_bars()


def _check_columns(table: datasets.Dataset, options: HubConfig, source: str) -> None:
    wanted = [options.audio_column, options.text_column, options.speaker_column, options.id_column]
    lacking = [column for column in wanted if column is not None and column not in table.column_names]
    if lacking:
        raise ValueError(
            f"{source} has no column {', '.join(lacking)}; it has {', '.join(table.column_names)}. Name the columns "
            "with data.audio_column, data.text_column, data.speaker_column and data.id_column (null if there is none)."
        )


def _column(table: datasets.Dataset, column: str | None) -> list[Any] | None:
    if column is None:
        return None
    return table.data.column(column).to_pylist() if table._indices is None else list(table[column])
