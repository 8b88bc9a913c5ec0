"""WER of one model with several language models, untuned and tuned on val, with paired differences on test.

python experiments/decoding/open_vocabulary.py RUN LM [LM ...] [--root CORPUS] [--trials N]

Each LM is a folder of python -m khasr.build_lm; the differences are against the first, tuned. The log-probabilities are
kept in the run's cache.
"""

import argparse
import time
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from khasr.config import DecoderConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.decoder import texts
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.inference.tuning import tune
from khasr.run.folder import RunFolder, read_config
from khasr.scoring.significance import paired_difference, rate_interval

parser = argparse.ArgumentParser()
parser.add_argument("run")
parser.add_argument("lms", nargs="+")
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
first: list[int] | None = None


def row(name: str, options: DecoderConfig) -> list[int]:
    """Prints a row of the table; returns the edits of each utterance, in words."""
    start = time.process_time()
    found = texts(options, vocabulary, test.log_probs)
    seconds = time.process_time() - start
    edits = [Levenshtein.distance(r.split(), t.split()) for r, t in zip(test.references, found, strict=True)]
    characters = sum(Levenshtein.distance(r, t) for r, t in zip(test.references, found, strict=True))
    wer = rate_interval(edits, words)
    against = "" if first is None else "{:+.2f} ({:+.2f} to {:+.2f})".format(
        *(100 * x for x in paired_difference(edits, first, words)[:3]))  # fmt: skip
    print(
        f"| {name} | {100 * wer.value:.2f} | {100 * wer.low:.2f} to {100 * wer.high:.2f} "
        f"| {100 * characters / sum(map(len, test.references)):.2f} | {against} | {seconds:.1f} |",
        flush=True,
    )
    return edits


print(f"{len(words)} utterances, {sum(words):,} words of test; {len(val.ids)} utterances of val\n")
print("| decoding | WER, % | 95 % | CER, % | against the first language model, tuned | CPU, s |")
print("| --- | ---: | --- | ---: | --- | ---: |")
row("greedy", DecoderConfig())
notes = []
for lm in arguments.lms:
    options = DecoderConfig(name="beam_lm", lm=lm)
    name = Path(lm).name
    row(f"{name}, untuned", options)
    tuned = tune(options, vocabulary, val.log_probs, val.references, trials=arguments.trials, seed=0,
                 report=lambda _: None)  # fmt: skip
    edits = row(f"{name}, tuned", tuned.decoder)
    first = edits if first is None else first
    weights = {key: getattr(tuned.decoder, key) for key in ("alpha", "beta", "unk_score_offset", "spelling")}
    notes.append(f"{name}: val {100 * tuned.untuned:.2f} to {100 * tuned.wer:.2f} %, {weights} {' '.join(tuned.edges)}")
print("\n" + "\n".join(notes))
