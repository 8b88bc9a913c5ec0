"""WER with several settings of words and spelling, on every second utterance of val.

python experiments/decoding/weights.py RUN LM [--root CORPUS]

LM is a folder of python -m khasr.build_lm. The log-probabilities are kept in the run's cache.
"""

import argparse
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from khasr.config import DecoderConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.beam import BeamSearch
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.run.folder import RunFolder, read_config

# alpha, beta, spelling and spelling_bonus.
SETTINGS = [
    (0.0, 0.0, 1.3, 2.2), (0.2, 0.5, 1.3, 2.2), (0.3, 1.5, 1.3, 2.2), (0.5, 1.5, 1.1, 2.0), (0.5, 1.5, 1.3, 2.0),
    (0.5, 1.5, 1.1, 2.4), (0.5, 1.5, 1.3, 2.4), (0.5, 1.5, 1.5, 2.4), (0.5, 1.5, 1.3, 2.8),
]  # fmt: skip

parser = argparse.ArgumentParser()
parser.add_argument("run")
parser.add_argument("lm")
parser.add_argument("--root", help="folder of the corpus, if it was moved")
arguments = parser.parse_args()
config = read_config(Path(arguments.run))
if arguments.root:
    config.data.root = arguments.root  # type: ignore[attr-defined]
recogniser = load_recogniser(arguments.run)
part = read_parts(config.data, config.seed, needed=["val"])["val"]
val = recognise_part(recogniser, part, config.data, RunFolder.at(arguments.run).log_probs)
references, log_probs = val.references[::2], val.log_probs[::2]
search = BeamSearch(DecoderConfig(name="beam_lm", lm=arguments.lm), recogniser.vocabulary)
print("| alpha | beta | spelling | bonus | WER, % | CER, % |\n| ---: | ---: | ---: | ---: | ---: | ---: |")
for alpha, beta, spelling, bonus in SETTINGS:
    weights = {"alpha": alpha, "beta": beta, "spelling": spelling, "spelling_bonus": bonus}
    search.weigh(DecoderConfig(name="beam_lm", lm=arguments.lm, **weights))  # type: ignore[arg-type]
    pairs = list(zip(references, search.texts(log_probs), strict=True))
    wer = sum(Levenshtein.distance(r.split(), t.split()) for r, t in pairs) / sum(len(r.split()) for r, _ in pairs)
    cer = sum(Levenshtein.distance(r, t) for r, t in pairs) / sum(len(r) for r, _ in pairs)
    print(f"| {alpha} | {beta} | {spelling} | {bonus} | {100 * wer:.2f} | {100 * cer:.2f} |", flush=True)
