"""Compares pyctcdecode in one process with the compiled search on all cores, on the same log-probabilities.

python experiments/decoding/benchmark.py RUN LM [UTTERANCES]
"""

import gc
import sys
import time
from pathlib import Path

from khasr.config import DecoderConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.beam import BeamSearch
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.run.folder import RunFolder, read_config
from khasr.scoring.error_rates import word_edits

run, lm = sys.argv[1], sys.argv[2]
most = int(sys.argv[3]) if len(sys.argv) > 3 else 300
config = read_config(Path(run))
cache = RunFolder.at(run).log_probs
recogniser = load_recogniser(run)
recognised = recognise_part(recogniser, read_parts(config.data, config.seed)["test"], config.data, cache)
log_probs, references = recognised.log_probs[:most], recognised.references[:most]
words = sum(len(r.split()) for r in references)
found = {}
for backend in ("compiled", "pyctcdecode"):
    options = DecoderConfig(name="beam_lm", lm=lm, backend=backend, beam_width=100, spelling=0.0)
    search = BeamSearch(options, recogniser.vocabulary)
    search.texts(log_probs[:2])
    gc.collect()  # otherwise garbage of the imports is collected in one of the two, which takes 0.1 s
    start = time.perf_counter()
    texts = search.texts(log_probs)
    seconds = time.perf_counter() - start
    wer = sum(word_edits(r, t).total for r, t in zip(references, texts, strict=True)) / words
    found[backend] = (seconds, texts)
    print(
        f"{backend:12s} {seconds:8.2f} s  WER {100 * wer:.2f} %  ("
        f"{len(texts)} utterances, {sum(recognised.seconds[:most]):.0f} s of audio)",
        flush=True,
    )
ratio = found["pyctcdecode"][0] / found["compiled"][0]
same = sum(a == b for a, b in zip(found["compiled"][1], found["pyctcdecode"][1], strict=True))
print(f"ratio {ratio:.1f}; the same text in {same} of {len(log_probs)}")

# Where the texts differ: which of them has the higher score in pyctcdecode's n-best list?
reference = BeamSearch(DecoderConfig(name="beam_lm", lm=lm, backend="pyctcdecode", spelling=0.0), recogniser.vocabulary)
for i, (ours, theirs) in enumerate(zip(found["compiled"][1], found["pyctcdecode"][1], strict=True)):
    if ours != theirs:
        scores = {beam.text: beam.score for beam in reversed(reference.beams(log_probs[i]))}
        print(
            f"{recognised.ids[i]}\n  compiled    {scores.get(ours, float('nan')):.4f} {ours}\n"
            f"  pyctcdecode {scores.get(theirs, float('nan')):.4f} {theirs}"
        )
