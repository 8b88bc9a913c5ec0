"""CPU time of beam searches on the same log-probabilities, one thread each, and how often the texts are equal.

python experiments/decoding/benchmark.py RUN LM [--utterances N] [--root CORPUS]

LM is a folder of python -m khasr.build_lm. Peers that are installed are measured too (pip install ctc-beam-decoder
flashlight-text); flashlight-text is used through torchaudio, with the words of LM as its lexicon.
"""

import argparse
import functools
import gc
import importlib.util
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from khasr.config import DecoderConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.beam import BeamSearch, lm_file, read_unigrams
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.run.folder import RunFolder, read_config
from khasr.scoring.error_rates import word_edits

Decode = Callable[[NDArray[np.float32]], str]

parser = argparse.ArgumentParser()
parser.add_argument("run")
parser.add_argument("lm")
parser.add_argument("--utterances", type=int, default=300)
parser.add_argument("--root", help="folder of the corpus, if it was moved")
arguments = parser.parse_args()
torch.set_num_threads(1)
config = read_config(Path(arguments.run))
if arguments.root:
    config.data.root = arguments.root  # type: ignore[attr-defined]
recogniser = load_recogniser(arguments.run)
part = read_parts(config.data, config.seed)["test"]
recognised = recognise_part(recogniser, part, config.data, RunFolder.at(arguments.run).log_probs)
log_probs = recognised.log_probs[: arguments.utterances]
references = recognised.references[: arguments.utterances]
symbols = recogniser.vocabulary.symbols
lm = lm_file(arguments.lm)
words = sorted(read_unigrams(lm) or [])
card = DecoderConfig(name="beam_lm", lm=arguments.lm, spelling=0.0)


def khasr(**options: Any) -> Decode:
    search = BeamSearch(DecoderConfig(**{"name": "beam_lm", "lm": arguments.lm, **options}), recogniser.vocabulary)
    return lambda rows: search.texts([rows])[0]


def ctc_beam_decoder() -> Decode:
    from ctc_beam_decoder import build_ctcdecoder

    labels = ["", "⁇", *symbols[2:]]
    weights = {"alpha": card.alpha, "beta": card.beta, "unk_score_offset": card.unk_score_offset}
    search = build_ctcdecoder(labels, kenlm_model_path=str(lm), unigrams=words, **weights)
    pruning = {"beam_width": card.beam_width, "token_min_logp": -5.0, "beam_prune_logp": -10.0}
    return lambda rows: " ".join(search.decode(rows, **pruning).replace("⁇", "").split())


def flashlight(tokens: int) -> Decode:
    """A closed vocabulary: words that the language model does not have are not found."""
    from torchaudio.models.decoder import ctc_decoder

    names = ["<blank>", "<unk>", *("|" if s == " " else s for s in symbols[2:])]
    spelled = [w for w in words if set(w) <= set(symbols)]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as lexicon:
        lexicon.write("".join(f"{w}\t{' '.join(w)} |\n" for w in spelled))
        lexicon.flush()
        search = ctc_decoder(
            lexicon.name, names, str(lm), beam_size=card.beam_width, beam_size_token=tokens, beam_threshold=10.0,
            lm_weight=card.alpha * math.log(10), word_score=card.beta, blank_token="<blank>", sil_token="|",
        )  # fmt: skip
    return lambda rows: " ".join(search(torch.from_numpy(np.array(rows))[None])[0][0].words)


def measure(name: str, build: Callable[[], Decode]) -> list[str]:
    """Prints the CPU time of a first pass and of a second one, in which caches are filled; returns the texts."""
    decode = build()
    decode(log_probs[0])  # compiles
    gc.collect()
    seconds = []
    for _ in range(2):
        start = time.process_time()
        found = [decode(np.ascontiguousarray(rows)) for rows in log_probs]
        seconds.append(time.process_time() - start)
    edits = sum(word_edits(r, t).total for r, t in zip(references, found, strict=True))
    wer = 100 * edits / sum(len(r.split()) for r in references)
    same = sum(a == b for a, b in zip(found, first or found, strict=True))
    print(f"| {name} | {seconds[0]:.2f} | {seconds[1]:.2f} | {wer:.2f} | {same} |", flush=True)
    return found


first: list[str] = []
print(f"{len(log_probs)} utterances, {sum(recognised.seconds[: len(log_probs)]):.0f} s of audio, beam width 100\n")
print("| search | CPU, s | again, s | WER, % | texts equal to the first row |\n| --- | ---: | ---: | ---: | ---: |")
first = measure("khasr, words", lambda: khasr(spelling=0.0))
measure("khasr, words + spelling", khasr)
if importlib.util.find_spec("ctc_beam_decoder"):
    measure("ctc-beam-decoder", ctc_beam_decoder)
if importlib.util.find_spec("flashlight"):
    for size in (5, 20):
        measure(f"flashlight-text, {size} symbols per frame", functools.partial(flashlight, size))
theirs = measure("pyctcdecode", lambda: khasr(spelling=0.0, backend="pyctcdecode"))

# Where the texts differ: which of them has the higher score in pyctcdecode's n-best list?
reference = BeamSearch(DecoderConfig(name="beam_lm", lm=arguments.lm, backend="pyctcdecode", spelling=0.0),
    recogniser.vocabulary)  # fmt: skip
for i, (ours, other) in enumerate(zip(first, theirs, strict=True)):
    if ours != other:
        scores = {beam.text: beam.score for beam in reversed(reference.beams(log_probs[i]))}
        print(
            f"{recognised.ids[i]}\n  khasr       {scores.get(ours, float('nan')):.4f} {ours}\n"
            f"  pyctcdecode {scores.get(other, float('nan')):.4f} {other}"
        )
