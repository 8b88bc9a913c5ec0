"""Hugging Face audio datasets in Parquet, from the hub or from this machine."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from khasr.config import HubConfig
from khasr.data.corpora.corpus import Corpus, Fault, Utterance
from khasr.data.corpora.files import Audio, cache_folder, decode_audio, digest, stamps

# What datasets call their parts, and what khasr does.
_OWN_PARTS = {"train": "train", "validation": "val", "valid": "val", "dev": "val", "test": "test"}


def read_hub(options: HubConfig) -> Corpus:
    """The dataset's utterances, of all its splits; ids are SPLIT/NUMBER, or SPLIT/ID with data.id_column.

    Audio is read as it lies in the dataset and decoded by libsndfile: neither torchcodec nor FFmpeg is needed.

    Raises:
        FileNotFoundError: nothing where the options say, or the hub does not have it.
        ValueError: a dataset that is a loading script, not readable, or without the columns.
        OSError: the hub cannot be reached.
    """
    source, splits, fingerprint = _open(options)
    utterances: list[Utterance] = []
    faults: list[Fault] = []
    place: dict[str, tuple[datasets.Dataset, int]] = {}
    for split, table in splits.items():
        _check_columns(table, options, source)
        table = table.cast_column(options.audio_column, datasets.Audio(decode=False))
        texts, speakers, names = (
            _column(table, c) for c in (options.text_column, options.speaker_column, options.id_column)
        )
        for row in range(len(table)):
            id_ = f"{split}/{names[row] if names is not None else f'{row:06d}'}"
            where = f"{source} {split} row {row}"
            text = str((texts[row] if texts is not None else None) or "").strip()
            if id_ in place:
                faults.append(Fault(id_, "its id occurs twice", f"{where}: {id_} occurs a second time"))
            elif not text:
                faults.append(Fault(id_, "no text", f"{where}: {id_} has no text"))
            else:
                speaker = speakers[row] if speakers is not None else None
                place[id_] = table, row
                own_part = _OWN_PARTS.get(split, "")
                utterances.append(Utterance(id_, text, "" if speaker is None else str(speaker), where, own_part))

    def read_audio(utterance: Utterance) -> Audio:
        table, row = place[utterance.id]
        audio = table[row][options.audio_column]
        if audio is None or (audio.get("bytes") is None and not audio.get("path")):
            raise ValueError("it has no audio")
        return decode_audio(io.BytesIO(audio["bytes"]) if audio.get("bytes") is not None else Path(audio["path"]))

    name = Path(source).stem if options.root else source.replace("/", "--")
    columns = [options.audio_column, options.text_column, options.speaker_column, options.id_column]
    return Corpus(name, utterances, read_audio, digest(fingerprint, columns), faults)


def _open(options: HubConfig) -> tuple[str, dict[str, datasets.Dataset], str]:
    """What it is, its splits, and what changes when it does."""
    if (options.root is None) == (options.dataset is None):
        raise FileNotFoundError(
            "data=hub reads data.dataset=ID from the Hugging Face hub, or data.root= a folder written by save_to_disk, "
            f"a Parquet file or a folder of them; got dataset={options.dataset}, root={options.root}."
        )
    if options.root is None:
        folder = _fetch(options)
        files = sorted(folder.glob(options.files))
        # The snapshot's folder is named after its commit.
        return str(options.dataset), _read_parquet(files, folder, options), digest(folder.name, options.files)
    root = Path(options.root).expanduser()
    if root.is_file():
        return options.root, _read_parquet([root], root.parent, options), digest(stamps([root]))
    if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
        loaded = _quietly(lambda: datasets.load_from_disk(str(root)), options.root)
        splits = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
        return options.root, splits, digest(stamps(sorted(root.rglob("*.arrow"))), *(root.rglob("*.json")))
    files = sorted(root.glob(options.files)) if root.is_dir() else []
    if not files:
        what = f"has no files {options.files}" if root.is_dir() else "does not exist"
        scripts = [f.name for f in root.glob("*.py")] if root.is_dir() else []
        raise _no_parquet(options.root, what, scripts)
    return options.root, _read_parquet(files, root, options), digest(stamps(files))


def _no_parquet(source: str, what: str, scripts: Sequence[str]) -> Exception:
    if scripts:
        return ValueError(
            f"{source} is a loading script ({scripts[0]}), which the library `datasets` runs no more since version 4. "
            "The hub keeps a Parquet copy of most: data.revision=refs/convert/parquet with "
            "\"data.files='CONFIG/*/*.parquet'\". Or load it elsewhere with datasets 3, save_to_disk it, and "
            "pass data.root=FOLDER."
        )
    return FileNotFoundError(
        f"{source} {what}. Expected Parquet files (data.files=PATTERN says which), or a folder that save_to_disk wrote."
    )


def _fetch(options: HubConfig) -> Path:
    """The dataset's files on this machine, fetched where they are not; without the network, what was fetched before."""
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
            f"{source} is not on this machine, and the Hugging Face hub cannot be reached. data.root= takes a copy."
        ) from None
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"The Hugging Face hub shows no dataset {source}, revision {options.revision or 'main'}. Is the name "
            f"right? A gated one wants its terms accepted and `hf auth login`. ({type(error).__name__})"
        ) from None
    return folder


def _as_fnmatch(pattern: str) -> str:
    # The hub's patterns are fnmatch's, whose * crosses folders.
    return pattern.replace("**/", "*")


def _read_parquet(files: Sequence[Path], folder: Path, options: HubConfig) -> dict[str, datasets.Dataset]:
    """The files' splits: by the folder or the beginning of the name that is called so, else all are train."""
    by_split: dict[str, list[str]] = {}
    for file in files:
        names = [*reversed(file.relative_to(folder).parts[:-1]), file.name.split("-")[0], file.stem]
        split = next((name for name in names if name in _OWN_PARTS), "train")
        by_split.setdefault(split, []).append(str(file))
    cache = str(cache_folder(options) / "hub" / "arrow")

    def read(paths: list[str]) -> datasets.Dataset:
        return _quietly(
            lambda: datasets.load_dataset("parquet", data_files=paths, split="train", cache_dir=cache), ", ".join(paths)
        )

    return {split: read(paths) for split, paths in by_split.items()}


def _quietly(read: Callable[[], Any], source: str) -> Any:
    """What `read` gives, without the library's progress bars and with its errors in one line."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return read()
    except (datasets.exceptions.DatasetGenerationError, datasets.exceptions.DatasetNotFoundError, ValueError) as error:
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
            "with data.audio_column, data.text_column, data.speaker_column and data.id_column (null: none)."
        )


def _column(table: datasets.Dataset, column: str | None) -> list[Any] | None:
    return (
        None
        if column is None
        else table.data.column(column).to_pylist()
        if table._indices is None
        else list(table[column])
    )
