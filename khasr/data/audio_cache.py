"""A corpus at 16 kHz as an Arrow dataset on disk, made once and mapped into memory from then on.

An entry is a folder named after what made it: `utterances.arrow` (id, text, speaker, waveform, and what the audit wants
to know of the audio) and `made.json` (counts and faults). It is written beside its place and renamed, so that it is
there whole or not at all.
"""

import errno
import itertools
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import soundfile
import xxhash
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from khasr.data.audio import SAMPLE_RATE, to_16k
from khasr.data.corpora import Corpus, Fault, Utterance
from khasr.data.corpora.files import digest

# A change of what an entry holds, or of how audio becomes 16 kHz, must change this.
_EDITION = 2

_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "text": pa.string(),
        "speaker": pa.string(),
        "own_part": pa.string(),
        "rate": pa.int32(),  # of the source, in Hz
        "digest": pa.string(),  # of the waveform: the same for the same audio
        "peak": pa.float32(),  # largest sample, full scale at 1
        "level": pa.float32(),  # root mean square
        "clipped": pa.float32(),  # share of samples at full scale in runs of three or more
        "edge": pa.float32(),  # level of the louder of the first and the last 20 ms
        "waveform": pa.list_(pa.int16()),
    }
)

_WRITE_EVERY_SAMPLES = 2**23  # 16 MiB, however long the corpus and its utterances

_EDGE = SAMPLE_RATE // 50

# Reading and resampling leave Python's lock, so threads do; more than a few only wait for the disk.
_THREADS = min(4, os.cpu_count() or 1)


def load_audio(corpus: Corpus, folder: Path, progress: bool = True) -> tuple[datasets.Dataset, list[Fault]]:
    """The corpus's readable utterances at 16 kHz, and why the others are not among them.

    Columns: those of `_SCHEMA`; text is as the corpus has it, waveform int16 samples. From the cache where it is there.

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
        return datasets.Dataset(datasets.table.InMemoryTable(_SCHEMA.empty_table())), corpus.faults + faults
    return datasets.Dataset.from_file(str(entry / "utterances.arrow")), corpus.faults + faults


def _make_entry(corpus: Corpus, entry: Path, progress: bool) -> None:
    for left in entry.parent.glob(f"{entry.name}.partial-*"):  # by a process that was killed: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{entry.name}.partial-", dir=entry.parent))
    faults: list[Fault] = []
    count = samples = 0
    try:
        with pa.OSFile(str(partial / "utterances.arrow"), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
            rows: list[dict[str, Any]] = []
            waiting = 0
            for row in _converted(corpus, faults, progress):
                rows.append(row)
                count += 1
                samples += len(row["waveform"])
                waiting += len(row["waveform"])
                if waiting >= _WRITE_EVERY_SAMPLES:
                    writer.write_batch(_record_batch(rows))
                    rows.clear()
                    waiting = 0
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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        # Arrow's own error names no file.
        where = f"{entry.parent} (data.cache_dir or $KHASR_CACHE puts the cache elsewhere)"
        raise OSError(error.errno, os.strerror(error.errno), where) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _converted(corpus: Corpus, faults: list[Fault], progress: bool) -> Iterator[dict[str, Any]]:
    """The rows of the readable utterances, in order, some of them made ahead by threads."""
    bar = tqdm(
        total=len(corpus.utterances),
        desc=f"{corpus.name} to 16 kHz",
        unit=" utterances",
        disable=None if progress else True,
        leave=False,
    )
    with ThreadPoolExecutor(_THREADS) as pool, bar:
        ahead: deque[tuple[Utterance, Future[dict[str, Any]]]] = deque()
        waiting = iter(corpus.utterances)
        try:
            while True:
                for utterance in itertools.islice(waiting, 2 * _THREADS - len(ahead)):
                    ahead.append((utterance, pool.submit(_row, corpus, utterance)))
                if not ahead:
                    return
                utterance, future = ahead.popleft()
                try:
                    row = future.result()
                except (ValueError, soundfile.LibsndfileError, zipfile.BadZipFile, zlib.error) as error:
                    # Faults of the file, which stay; what the machine does (OSError) may pass, and stops instead.
                    detail = f"{utterance.source}: the audio of {utterance.id}: {error}"
                    faults.append(Fault(utterance.id, "unreadable audio", detail))
                else:
                    yield row
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)


def _row(corpus: Corpus, utterance: Utterance) -> dict[str, Any]:
    samples, rate = corpus.read_audio(utterance)
    waveform = to_16k(samples, rate)
    return {
        "id": utterance.id,
        "text": utterance.text,
        "speaker": utterance.speaker,
        "own_part": utterance.own_part,
        "rate": rate,
        "digest": xxhash.xxh3_128_hexdigest(waveform.tobytes()),
        "peak": float(np.abs(samples).max()),
        "level": _level(waveform),
        "clipped": _clipped(samples),
        "edge": max(_level(waveform[:_EDGE]), _level(waveform[-_EDGE:])),
        "waveform": waveform,
    }


def _level(waveform: NDArray[np.int16]) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float32)))) / 32768


def _clipped(samples: NDArray[np.float32]) -> float:
    """The share of samples, of any channel, that are at full scale with both neighbours: a flat top, not a peak."""
    full = np.abs(samples if samples.ndim == 1 else samples.T.reshape(-1)) >= 0.999
    flat = full[1:-1] & full[:-2] & full[2:]
    return float(flat.mean()) if len(flat) else 0.0


def _record_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    offsets = np.cumsum([0, *(len(row["waveform"]) for row in rows)], dtype=np.int32)
    waveforms = pa.ListArray.from_arrays(offsets, np.concatenate([row["waveform"] for row in rows]))
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in _SCHEMA if field.name != "waveform"]
    return pa.RecordBatch.from_arrays([*columns, waveforms], schema=_SCHEMA)
