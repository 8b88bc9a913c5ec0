"""Boundary error, share recovered and memory of khasr.align on recordings that are joined from utterances.

python experiments/alignment/measure.py RUN OUT MINUTES [data.OPTION=VALUE ...]

Held-out utterances of the run's corpus (val and test) are joined without pauses to a recording of MINUTES, in
random orders, each utterance once per order. `complete`: the text is that of the recording. `disturbed`: of
twenty utterances, one has no text and one sentence has no audio; in addition, 60 s of audio have no text, and 20
sentences in a row have no audio. Appends to OUT/alignment.csv, one row per recording.
"""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import soundfile
from numpy.typing import NDArray
from omegaconf import OmegaConf

from khasr.config import Config, from_plain, to_plain
from khasr.data.audio import SAMPLE_RATE
from khasr.data.datamodule import read_parts
from khasr.run.folder import read_config

# A sentence is recovered if both of its ends are this close, in seconds.
_CLOSE = 0.5


class Piece(NamedTuple):
    """An utterance in the recording, in the text, or in both; its place in the recording in seconds."""

    text: str
    begin: float | None
    end: float | None
    written: bool


def _utterances(run: str, options: list[str]) -> list[tuple[NDArray[np.int16], str]]:
    """Waveforms and transcripts of val and test."""
    plain = to_plain(read_config(run))
    for option in options:
        name, value = option.removeprefix("data.").split("=", 1)
        plain["data"][name] = value
    data = cast(Config, OmegaConf.to_object(from_plain(plain))).data
    parts = read_parts(data, seed=0, needed=["val", "test"])
    return [
        (np.asarray(row["waveform"], np.int16), text)
        for part in (parts["val"], parts["test"])
        for row, text in zip(part.audio, part.texts, strict=True)
    ]


def _compose(
    utterances: list[tuple[NDArray[np.int16], str]], minutes: int, disturbed: bool, seed: int
) -> tuple[list[Piece], NDArray[np.int16]]:
    """The pieces of a recording in order, and its samples."""
    rng = np.random.default_rng(seed)
    pieces: list[Piece] = []
    audio: list[NDArray[np.int16]] = []
    samples, silent, unwritten = 0, 0, 0.0
    order: list[int] = []
    while samples < 60 * minutes * SAMPLE_RATE:
        order = order or rng.permutation(len(utterances)).tolist()
        waveform, text = utterances[order.pop()]
        middle = samples / SAMPLE_RATE / 60 / minutes
        kind = rng.random() if disturbed else 1.0
        if disturbed and middle > 0.3 and unwritten < 60:
            kind = 0.0
            unwritten += len(waveform) / SAMPLE_RATE
        elif disturbed and middle > 0.6 and silent < 20:
            kind = 0.09
            silent += 1
        if 0.05 <= kind < 0.1:
            pieces.append(Piece(text, None, None, True))
            continue
        begin, samples = samples / SAMPLE_RATE, samples + len(waveform)
        pieces.append(Piece(text, begin, samples / SAMPLE_RATE, kind >= 0.05))
        audio.append(waveform)
    return pieces, np.concatenate(audio)


def _score(pieces: list[Piece], out: Path) -> dict[str, object]:
    """Errors of the sentences in utterances.tsv against the pieces of the same text."""
    written = [piece for piece in pieces if piece.written]
    expected = [piece for piece in written if piece.begin is not None]
    with (out / "utterances.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    errors: list[float] = []
    recovered = wrong = place = 0
    for row in rows:
        # Rows are in the order of the text, in which a sentence may be repeated: the next one with the same text.
        place = next(i for i in range(place, len(written)) if written[i].text == row["text"]) + 1
        piece = written[place - 1]
        if piece.begin is None or piece.end is None:
            wrong += 1
            continue
        ends = [abs(float(row["begin"]) - piece.begin), abs(float(row["end"]) - piece.end)]
        if float(row["begin"]) > piece.end or float(row["end"]) < piece.begin:
            wrong += 1
            continue
        errors += ends
        recovered += max(ends) <= _CLOSE
    return {
        "utterances": len(expected),
        "recovered": round(recovered / len(expected), 4),
        "found": len(rows),
        "wrong": wrong,
        "error_median": round(float(np.median(errors)), 3),
        "error_95": round(float(np.quantile(errors, 0.95)), 3),
    }


def main() -> None:
    """Measures both recordings."""
    run, out, minutes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    utterances = _utterances(run, sys.argv[4:])
    print(f"{len(utterances)} utterances, {sum(len(w) for w, _ in utterances) / SAMPLE_RATE / 60:.1f} min", flush=True)
    for disturbed in (True, False):
        name = f"{'disturbed' if disturbed else 'complete'}_{minutes}"
        pieces, samples = _compose(utterances, minutes, disturbed, seed=minutes)
        soundfile.write(out / f"{name}.flac", samples, SAMPLE_RATE)
        (out / f"{name}.txt").write_text("".join(f"{p.text}\n" for p in pieces if p.written), encoding="utf-8")
        start = time.perf_counter()
        command = [sys.executable, "-m", "khasr.align", run, str(out / f"{name}.flac"), str(out / f"{name}.txt")]
        _, status, usage = os.wait4(subprocess.Popen([*command, "--out", str(out / name)]).pid, 0)
        if status:
            sys.exit(status)
        row = {"recording": name, "minutes": round(len(samples) / SAMPLE_RATE / 60, 1), **_score(pieces, out / name)}
        row |= {"peak_mib": usage.ru_maxrss // 1024, "seconds": round(time.perf_counter() - start)}
        print(row, flush=True)
        first = not (out / "alignment.csv").exists()
        with (out / "alignment.csv").open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if first:
                writer.writeheader()
            writer.writerow(row)


if __name__ == "__main__":
    main()
