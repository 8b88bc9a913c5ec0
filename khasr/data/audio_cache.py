"""A corpus at 16 kHz as an Arrow dataset on disk, made once and then mapped into memory.

An entry is a folder named after its source: `utterances.arrow` (id, text, speaker, waveform, measurements of the audio)
and `made.json` (counts and faults). It is written under a temporary name and renamed, so that it is complete or absent;
an entry that was damaged later is made again.
"""

import errno
import itertools
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import xxhash
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from khasr.data.audio import SAMPLE_RATE
from khasr.data.audio_file import TruncatedAudioError
from khasr.data.channel_mix import CancellingChannelsError
from khasr.data.corpora import Corpus, Fault, Utterance
from khasr.data.corpora.files import digest
from khasr.text.terminal import printable

# To be raised with every change of an entry's content, or of decoding and resampling.
_EDITION = 4

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

_REASONS = {TruncatedAudioError: "audio cut short", CancellingChannelsError: "channels that cancel"}

_EDGE = SAMPLE_RATE // 50

# Decoding and resampling release Python's lock, so threads suffice; more than a few only wait for the disk.
_THREADS = min(4, os.cpu_count() or 1)


def load_audio(corpus: Corpus, folder: Path, progress: bool = True) -> tuple[datasets.Dataset, list[Fault]]:
    """The corpus's readable utterances at 16 kHz, and the faults of the others; from the cache if it has them.

    The columns are those of `_SCHEMA`; text is as the corpus has it, waveform is (samples,) int16.

    Raises:
        OSError: the cache cannot be written.
    """
    entry = folder / f"{corpus.name}-{digest(_EDITION, SAMPLE_RATE, corpus.fingerprint)[:16]}"
    loaded = _load_entry(entry)
    if loaded is None:
        folder.mkdir(parents=True, exist_ok=True)
        # One process makes it, the others wait for it.
        with FileLock(f"{entry}.lock"):
            loaded = _load_entry(entry)
            if loaded is None:
                shutil.rmtree(entry, ignore_errors=True)
                _make_entry(corpus, entry, progress)
                loaded = _load_entry(entry)
        if loaded is None:
            raise OSError(f"{entry} was written and cannot be read; is the disk faulty?")
    audio, faults = loaded
    return audio, corpus.faults + faults


def _load_entry(entry: Path) -> tuple[datasets.Dataset, list[Fault]] | None:
    """An entry's utterances and faults; None if it is missing or damaged."""
    arrow = entry / "utterances.arrow"
    try:
        made = json.loads((entry / "made.json").read_text(encoding="utf-8"))
        faults = [Fault(**fault) for fault in made["faults"]]
        if arrow.stat().st_size != made["bytes"]:
            return None
        if made["utterances"] == 0:
            # datasets, unlike pyarrow, does not read an Arrow stream without a batch.
            return datasets.Dataset(datasets.table.InMemoryTable(_SCHEMA.empty_table())), faults
        audio = datasets.Dataset.from_file(str(arrow))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError, pa.ArrowException):
        return None
    return (audio, faults) if len(audio) == made["utterances"] and audio.column_names == _SCHEMA.names else None


def _make_entry(corpus: Corpus, entry: Path, progress: bool) -> None:
    for left in entry.parent.glob(
        f"{entry.name}.partial-*"
    ):  # of a process that was killed, since this one holds the lock
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
            "bytes": (partial / "utterances.arrow").stat().st_size,
            "faults": [vars(fault) for fault in faults],
        }
        (partial / "made.json").write_text(json.dumps(made, ensure_ascii=False, indent=1), encoding="utf-8")
        partial.replace(entry)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        # Arrow's error names no file.
        where = f"{entry.parent} (data.cache_dir or $KHASR_CACHE sets the folder of the cache)"
        raise OSError(error.errno, os.strerror(error.errno), where) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _converted(corpus: Corpus, faults: list[Fault], progress: bool) -> Iterator[dict[str, Any]]:
    """Yields the rows of the readable utterances, in order; threads compute some of them ahead."""
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
                except ValueError as error:
                    # Faults of the file are permanent; those of the machine (OSError) may pass, and stop instead.
                    reason = _REASONS.get(type(error), "unreadable audio")
                    detail = printable(f"{utterance.source}: the audio of {utterance.id}: {error}")
                    faults.append(Fault(utterance.id, reason, detail))
                else:
                    yield row
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)


def _row(corpus: Corpus, utterance: Utterance) -> dict[str, Any]:
    recording = corpus.read_audio(utterance)
    waveform = recording.waveform
    return {
        "id": utterance.id,
        "text": utterance.text,
        "speaker": utterance.speaker,
        "own_part": utterance.own_part,
        "rate": recording.rate,
        "digest": xxhash.xxh3_128_hexdigest(waveform.tobytes()),
        "peak": recording.peak,
        "level": _level(waveform),
        "clipped": recording.clipped,
        "edge": max(_level(waveform[:_EDGE]), _level(waveform[-_EDGE:])),
        "waveform": waveform,
    }


def _level(waveform: NDArray[np.int16]) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float32)))) / 32768


def _record_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    offsets = np.cumsum([0, *(len(row["waveform"]) for row in rows)], dtype=np.int32)
    waveforms = pa.ListArray.from_arrays(offsets, np.concatenate([row["waveform"] for row in rows]))
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in _SCHEMA if field.name != "waveform"]
    return pa.RecordBatch.from_arrays([*columns, waveforms], schema=_SCHEMA)
