"""A corpus at 16 kHz as an Arrow dataset on disk, made once and mapped into memory from then on.

An entry is a folder named after what made it: `utterances.arrow` (id, text, speaker, waveform) and `made.json` (counts
and faults). It is written beside its place and renamed, so that it is there whole or not at all.
"""

import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import soundfile
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from khasr.config import DataConfig
from khasr.data.audio import SAMPLE_RATE, to_16k
from khasr.data.corpora import Corpus, Fault, Utterance
from khasr.data.corpora.corpus import digest

# A change of what an entry holds, or of how audio becomes 16 kHz, must change this.
_EDITION = 1
_SCHEMA = pa.schema({"id": pa.string(), "text": pa.string(), "speaker": pa.string(), "waveform": pa.list_(pa.int16())})
_WRITE_EVERY = 100


def cache_folder(options: DataConfig) -> Path:
    """Where 16 kHz audio is kept: data.cache_dir, else $KHASR_CACHE, else ~/.cache/khasr."""
    return Path(options.cache_dir or os.environ.get("KHASR_CACHE") or "~/.cache/khasr").expanduser()


def load_audio(corpus: Corpus, folder: Path, progress: bool = True) -> tuple[datasets.Dataset, list[Fault]]:
    """The corpus's readable utterances at 16 kHz, and why the others are not among them.

    Columns: id, text (as the corpus has it), speaker, waveform (int16 samples). From the cache where it is there.

    Raises:
        OSError: the cache cannot be written.
    """
    entry = folder / f"{corpus.name}-{digest(_EDITION, SAMPLE_RATE, corpus.fingerprint)[:16]}"
    if not (entry / "made.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # One process makes it, the others wait for it.
        with FileLock(f"{entry}.lock"):
            if not (entry / "made.json").is_file():
                _make_entry(corpus, entry, progress)
    made = json.loads((entry / "made.json").read_text(encoding="utf-8"))
    faults = [Fault(**fault) for fault in made["faults"]]
    if made["utterances"] == 0:
        # An Arrow stream without a batch is fine for pyarrow and not for datasets.
        return datasets.Dataset.from_dict({name: [] for name in _SCHEMA.names}), corpus.faults + faults
    return datasets.Dataset.from_file(str(entry / "utterances.arrow")), corpus.faults + faults


def _make_entry(corpus: Corpus, entry: Path, progress: bool) -> None:
    for left in entry.parent.glob(f"{entry.name}.partial-*"):  # by a process that was killed: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{entry.name}.partial-", dir=entry.parent))
    faults: list[Fault] = []
    count = samples = 0
    try:
        with pa.OSFile(str(partial / "utterances.arrow"), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
            rows: list[tuple[Utterance, NDArray[np.int16]]] = []
            for row in _converted(corpus, faults, progress):
                rows.append(row)
                count += 1
                samples += len(row[1])
                if len(rows) == _WRITE_EVERY:
                    writer.write_batch(_record_batch(rows))
                    rows.clear()
            if rows:
                writer.write_batch(_record_batch(rows))
        made = {
            "corpus": corpus.name,
            "fingerprint": corpus.fingerprint,
            "utterances": count,
            "seconds": samples / SAMPLE_RATE,
            "faults": [vars(fault) for fault in faults],
        }
        (partial / "made.json").write_text(json.dumps(made, ensure_ascii=False, indent=1), encoding="utf-8")
        partial.replace(entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _converted(corpus: Corpus, faults: list[Fault], progress: bool) -> Iterator[tuple[Utterance, NDArray[np.int16]]]:
    bar = tqdm(
        corpus.utterances,
        f"{corpus.name} to 16 kHz",
        unit=" utterances",
        disable=None if progress else True,
        leave=False,
    )
    for utterance in bar:
        try:
            samples, rate = corpus.read_audio(utterance)
            waveform = to_16k(samples, rate)
        except (ValueError, soundfile.LibsndfileError, zipfile.BadZipFile, zlib.error) as error:
            # Faults of the file, which stay; what the machine does (OSError) may pass, and stops instead.
            faults.append(
                Fault(utterance.id, "unreadable audio", f"{utterance.source}: the audio of {utterance.id}: {error}")
            )
        else:
            yield utterance, waveform


def _record_batch(rows: list[tuple[Utterance, NDArray[np.int16]]]) -> pa.RecordBatch:
    offsets = np.cumsum([0, *(len(waveform) for _, waveform in rows)], dtype=np.int32)
    waveforms = pa.ListArray.from_arrays(offsets, np.concatenate([waveform for _, waveform in rows]))
    texts = [pa.array([getattr(u, name) for u, _ in rows], pa.string()) for name in ("id", "text", "speaker")]
    return pa.RecordBatch.from_arrays([*texts, waveforms], schema=_SCHEMA)
