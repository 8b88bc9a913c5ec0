"""The aligner alone, on log-probabilities of utterances that are recognised separately and joined: a quick measurement.

python experiments/alignment/from_log_probs.py RUN OUT.csv MINUTES[,MINUTES] [data.OPTION=VALUE ...]

As measure.py, but without audio: the log-probabilities of val and test are computed once (and cached by the run).
"""

import csv
import resource
import sys
import time
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from khasr.config import Config, from_plain, to_plain
from khasr.data.datamodule import read_parts
from khasr.decoding.alignment import SentenceAligner, seconds
from khasr.inference.alignment import cut_times
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.run.folder import RunFolder, read_config

run, out = sys.argv[1], Path(sys.argv[2])
plain = to_plain(read_config(run))
for option in sys.argv[4:]:
    name, value = option.removeprefix("data.").split("=", 1)
    plain["data"][name] = value
data = cast(Config, OmegaConf.to_object(from_plain(plain))).data
recogniser = load_recogniser(run)
parts = read_parts(data, seed=0, needed=["val", "test"])
utterances: list[tuple[NDArray[np.float32], list[int]]] = []
for part in (parts["val"], parts["test"]):
    found = recognise_part(recogniser, part, data, RunFolder.at(run).log_probs)
    symbols = [[i for i in recogniser.vocabulary.encode(text) if i > 1] for text in found.references]
    utterances += zip(found.log_probs, symbols, strict=True)
silent = [0, recogniser.vocabulary.symbols.index(" ")]
print(f"{len(utterances)} utterances, {sum(seconds(len(u)) for u, _ in utterances) / 60:.1f} min", flush=True)
rows = []
for minutes in map(int, sys.argv[3].split(",")):
    for disturbed in (False, True):
        rng = np.random.default_rng(minutes)
        text: list[list[int]] = []
        spoken: list[tuple[int, NDArray[np.float32], float, float]] = []  # sentence or -1, frames, begin, end
        order: list[int] = []
        at, unwritten, silent_sentences = 0.0, 0.0, 0
        while at < 60 * minutes:
            order = order or rng.permutation(len(utterances)).tolist()
            frames, sentence = utterances[order.pop()]
            kind = rng.random() if disturbed else 1.0
            if disturbed and at > 18 * minutes and unwritten < 60:
                kind, unwritten = 0.0, unwritten + seconds(len(frames))
            elif disturbed and at > 36 * minutes and silent_sentences < 20:
                kind, silent_sentences = 0.09, silent_sentences + 1
            if kind >= 0.05:
                text.append(sentence)
            if not 0.05 <= kind < 0.1:
                end = at + seconds(len(frames))
                spoken.append((len(text) - 1 if kind >= 0.05 else -1, frames, at, end))
                at = end
        start = time.process_time()
        aligner = SentenceAligner(text, silent)
        for frames in (each[1] for each in spoken):
            aligner.add(frames)
        spans = aligner.finish()
        taken = time.process_time() - start
        cuts = dict(zip((span.sentence for span in spans), cut_times(spans, at), strict=True))
        expected = {sentence: (begin, end) for sentence, _, begin, end in spoken if sentence >= 0}
        errors = [abs(a - b) for s, pair in expected.items() if s in cuts for a, b in zip(cuts[s], pair, strict=True)]
        close = [s in cuts and max(np.abs(np.subtract(cuts[s], pair))) <= 0.5 for s, pair in expected.items()]
        rows.append(
            {
                "recording": f"{'disturbed' if disturbed else 'complete'}_{minutes}",
                "utterances": len(expected),
                "recovered": round(float(np.mean(close)), 4),
                "found": len(spans),
                "wrong": len(cuts.keys() - expected.keys()),
                "error_median": round(float(np.median(errors)), 3),
                "error_95": round(float(np.quantile(errors, 0.95)), 3),
                "cpu_seconds": round(taken, 1),
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
        print(rows[-1], flush=True)
        with out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
