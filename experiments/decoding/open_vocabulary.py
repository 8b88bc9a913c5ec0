"""WER of one model with several language models, untuned and tuned on val, with paired differences on test.

python experiments/decoding/open_vocabulary.py RUN LM [LM ...] [--characters LM ...] [--root CORPUS] [--trials N]

Each LM is a folder of python -m khasr.build_lm; the differences are against the first. With --characters only the
spelling model of a folder is used: an n-gram of characters of any order. The log-probabilities are kept in the run's
cache.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from rapidfuzz.distance import Levenshtein

from khasr.config import DecoderConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.decoder import texts
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.inference.tuning import RANGES_WITH_SPELLING, tune
from khasr.run.folder import RunFolder, read_config
from khasr.scoring.significance import paired_difference, rate_interval

# Without the n-gram of words.
CHARACTERS: dict[str, Any] = {"alpha": 0.0}

parser = argparse.ArgumentParser()
parser.add_argument("run")
parser.add_argument("lms", nargs="+")
parser.add_argument("--characters", nargs="+", default=[], help="folders whose spelling model is used alone")
parser.add_argument("--root", help="folder of the corpus, if it was moved")
parser.add_argument("--trials", type=int, default=100)
arguments = parser.parse_args()
config = read_config(Path(arguments.run))
if arguments.root:
    config.data.root = arguments.root  # type: ignore[attr-defined]
recogniser = load_recogniser(arguments.run)
vocabulary = recogniser.vocabulary
parts = read_parts(config.data, config.seed)
cache = RunFolder.at(arguments.run).log_probs
val, test = (recognise_part(recogniser, parts[name], config.data, cache) for name in ("val", "test"))
words = [len(reference.split()) for reference in test.references]
against: dict[str, list[int]] = {}


def row(name: str, options: DecoderConfig) -> list[int]:
    """Prints a row of the table; returns the edits of each utterance, in words."""
    start = time.process_time()
    found = texts(options, vocabulary, test.log_probs)
    seconds = time.process_time() - start
    edits = [Levenshtein.distance(r.split(), t.split()) for r, t in zip(test.references, found, strict=True)]
    characters = sum(Levenshtein.distance(r, t) for r, t in zip(test.references, found, strict=True))
    wer = rate_interval(edits, words)
    differences = []
    for kind in ("untuned", "tuned"):
        before = against.get(kind)
        gain = None if before is None else paired_difference(edits, before, words)
        differences.append(
            "" if gain is None else f"{100 * gain.value:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
        )
    print(
        f"| {name} | {100 * wer.value:.2f} | {100 * wer.low:.2f} to {100 * wer.high:.2f} "
        f"| {100 * characters / sum(map(len, test.references)):.2f} | {' | '.join(differences)} | {seconds:.1f} |",
        flush=True,
    )
    return edits


first = Path(arguments.lms[0]).name
print(f"{len(words)} utterances, {sum(words):,} words of test; {len(val.ids)} utterances of val\n")
print(f"| decoding | WER, % | 95 % | CER, % | against {first}, untuned | against {first}, tuned | CPU, s |")
print("| --- | ---: | --- | ---: | --- | --- | ---: |")
row("greedy", DecoderConfig())
notes = []
for lm, alone in [*((lm, False) for lm in arguments.lms), *((lm, True) for lm in arguments.characters)]:
    options = DecoderConfig(name="beam_lm", lm=lm, **(CHARACTERS if alone else {}))
    name = f"characters of {Path(lm).name}" if alone else Path(lm).name
    edits = row(f"{name}, untuned", options)
    against.setdefault("untuned", edits)
    ranges = {n: r for n, r in RANGES_WITH_SPELLING.items() if n not in CHARACTERS} if alone else None
    tuned = tune(options, vocabulary, val.log_probs, val.references, trials=arguments.trials, seed=0, ranges=ranges,
                 report=lambda _: None)  # fmt: skip
    edits = row(f"{name}, tuned", tuned.decoder)
    against.setdefault("tuned", edits)
    names = ("alpha", "beta", "unk_score_offset", "spelling", "spelling_bonus", "beam_prune_logp")
    weights = {key: getattr(tuned.decoder, key) for key in names}
    print(f"<!-- {name}: val {100 * tuned.untuned:.2f} to {100 * tuned.wer:.2f} %, {weights} -->", flush=True)
    notes += [f"{name}: {edge}" for edge in tuned.edges]
print("\n" + "\n".join(notes))
