"""Compares separate utterances with the same utterances joined to long recordings, to find the errors of long audio.

python experiments/decoding/long_audio.py RUN [PART] [SECONDS]

Each row changes one thing; decoding is greedy. The reference of a recording is that of its utterances joined by spaces.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from khasr.data.audio import FRAME_STRIDE, SAMPLE_RATE, standardise
from khasr.data.datamodule import read_parts
from khasr.decoding.greedy import decode_greedy
from khasr.inference.long_audio import long_log_probs, pieces_at_pauses
from khasr.inference.recogniser import load_recogniser
from khasr.run.folder import read_config
from khasr.scoring.error_rates import RATES, count_edits

run, name, seconds = sys.argv[1], (sys.argv[2:] or ["val"])[0], float((sys.argv[3:] or ["600"])[0])
config = read_config(Path(run))
recogniser = load_recogniser(run)
part = read_parts(config.data, config.seed)[name]
Wave = NDArray[np.float32]
waves: list[Wave] = [np.asarray(row["waveform"], np.int16).astype(np.float32) / 32768 for row in part.audio]


def grouped(order: Sequence[int], speakers: Sequence[str] | None = None) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for i in order:
        full = sum(len(waves[j]) for j in found[-1]) >= seconds * SAMPLE_RATE
        if full or (speakers and found[-1] and speakers[found[-1][0]] != speakers[i]):
            found.append([])
        found[-1].append(i)
    return found


groups = grouped(range(len(waves)))


def log_probs(wave: Wave) -> Wave:
    return recogniser.log_probs(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))[0]


def greedy(rows: Wave) -> str:
    return decode_greedy(torch.from_numpy(rows)[None], torch.tensor([len(rows)]), recogniser.vocabulary)[0]


def chunks(wave: Wave, chunk: float = 30.0, stride: float = 5.0) -> Iterator[Wave]:
    return long_log_probs(recogniser, [wave], chunk, stride)


def print_row(label: str, texts: list[str]) -> None:
    cells = []
    for rate in ("cer", "cer_no_spaces", "wer"):
        unit = RATES[rate]
        counted = [
            count_edits(unit(" ".join(part.texts[i] for i in group)), unit(text))
            for group, text in zip(groups, texts, strict=True)
        ]
        cells.append(f"{100 * sum(c.total for c in counted) / sum(c.units for c in counted):.2f}")
    print(f"| {label} | {' | '.join(cells)} |", flush=True)


def joined(group: list[int], parts: list[Wave] = waves, pause: float = 0.0) -> Wave:
    # Noise at the level of the twin's, because recordings have no exact zeros.
    silence = np.random.default_rng(0).normal(0, 0.002, int(pause * SAMPLE_RATE)).astype(np.float32)
    return np.concatenate([x for i in group for x in (parts[i], silence)])


def with_ends(wave: Wave) -> Wave:
    noise = np.random.default_rng(0).normal(0, 0.002, 2 * int(0.15 * SAMPLE_RATE)).astype(np.float32)
    return np.concatenate([noise[: len(noise) // 2], wave, noise[len(noise) // 2 :]])


def moving_window(wave: Wave, seconds: float) -> Wave:
    length = int(seconds * SAMPLE_RATE)
    centred = wave - uniform_filter1d(wave.astype(np.float64), length)
    return (centred / np.sqrt(uniform_filter1d(centred**2, length) + 1e-7)).astype(np.float32)


def per_group(texts: list[str]) -> list[str]:
    return [" ".join(texts[i] for i in group if texts[i]) for group in groups]


print(
    f"{len(waves)} utterances of {name}, {sum(map(len, waves)) / SAMPLE_RATE / 60:.1f} min, "
    f"in {len(groups)} recordings\n"
)
print("| audio | CER, % | CER without spaces, % | WER, % |\n| --- | ---: | ---: | ---: |")
print_row("utterances, separate", per_group([greedy(log_probs(standardise(w))) for w in waves]))
loudness = []
for group in groups:
    whole = joined(group)
    at = 0
    for i in group:
        middle = at + len(waves[i]) // 2
        around = whole[max(0, middle - 15 * SAMPLE_RATE) : middle + 15 * SAMPLE_RATE]
        loudness.append(greedy(log_probs((waves[i] - around.mean()) / np.sqrt(around.var() + 1e-7))))
        at += len(waves[i])
print_row("separate, standardised with the 30 s around", per_group(loudness))
whole_rows = [np.concatenate(list(chunks(joined(g)))) for g in groups]
print_row("joined, in chunks of 30 s", [greedy(r) for r in whole_rows])
edges = [np.cumsum([len(waves[i]) for i in g])[:-1] // FRAME_STRIDE for g in groups]
print_row(
    "the same frames, decoded for each utterance",
    [
        " ".join(filter(None, (greedy(x) for x in np.split(r, e) if len(x))))
        for r, e in zip(whole_rows, edges, strict=True)
    ],
)
equal = [standardise(w) for w in waves]
print_row(
    "joined, with utterances of equal loudness",
    [greedy(np.concatenate(list(chunks(joined(g, equal))))) for g in groups],
)
for window in (1.5, 3.0, 6.0):
    print_row(
        f"joined, standardised in a moving window of {window:g} s",
        [greedy(np.concatenate(list(chunks(moving_window(joined(g), window))))) for g in groups],
    )
for length, stride in ((15.0, 2.5), (8.0, 1.5), (5.0, 1.0)):
    rows = [np.concatenate(list(chunks(joined(g), length, stride))) for g in groups]
    print_row(f"joined, in chunks of {length:g} s with {stride:g} s of context at each end", [greedy(r) for r in rows])
print_row(
    "separate, with 0.15 s of faint noise at each end",
    per_group([greedy(log_probs(standardise(with_ends(w)))) for w in waves]),
)
print_row(
    "joined, with 0.3 s of faint noise between",
    [greedy(np.concatenate(list(chunks(joined(g, pause=0.3))))) for g in groups],
)


def transcribed(group: list[int]) -> str:
    pieces = pieces_at_pauses(chunks(joined(group)), recogniser.vocabulary)
    return " ".join(filter(None, (greedy(rows) for _, rows in pieces)))


print_row("joined, as khasr.transcribe processes it", [transcribed(g) for g in groups])
# Most recordings have one speaker, or a constant loudness.
speakers = [str(row["speaker"]) for row in part.audio]
groups = grouped(sorted(range(len(waves)), key=lambda i: speakers[i]), speakers)
print_row(f"the same, one speaker per recording ({len(groups)} recordings)", [transcribed(g) for g in groups])
