"""The speed of evaluating in batches of similar length, compared with one utterance at a time, and the padding.

python experiments/speed/evaluating.py RUN [--rounds 3]
"""

import argparse
import statistics
import time
from pathlib import Path

from torch.utils.data import DataLoader

from khasr.data.batching import collate, evaluation_batches
from khasr.data.datamodule import read_parts
from khasr.data.parts import PartDataset
from khasr.decoding.greedy import decode_greedy
from khasr.inference.recogniser import load_recogniser, recognise
from khasr.run.folder import read_config
from khasr.scoring.hypotheses import score

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run")
parser.add_argument("--rounds", type=int, default=3)
arguments = parser.parse_args()
config = read_config(Path(arguments.run))
recogniser = load_recogniser(arguments.run)
part = read_parts(config.data, config.seed)["val"]
dataset = PartDataset(part, recogniser.vocabulary, config.data)
seconds: dict[int, list[float]] = {1: [], 8: [], 16: []}
rates = {}
for _ in range(arguments.rounds):
    for size in seconds:
        batches = evaluation_batches(part.lengths, size)
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate)
        since = time.perf_counter()
        hypotheses = recognise(
            recogniser.model, loader, lambda rows, frames: decode_greedy(rows, frames, recogniser.vocabulary)
        )
        seconds[size].append(time.perf_counter() - since)
        rates[size] = score(hypotheses)["wer"]
print(f"{len(part)} utterances, {sum(part.lengths) / 16_000:.0f} s of audio\n")
print("| batch size | s, median | speed relative to batch size 1 | padding, % | WER, % |")
print("| ---: | ---: | ---: | ---: | ---: |")
for size, took in seconds.items():
    padded = sum(len(b) * max(part.lengths[i] for i in b) for b in evaluation_batches(part.lengths, size))
    ratio = statistics.median(one / each for one, each in zip(seconds[1], took, strict=True))
    print(
        f"| {size} | {statistics.median(took):.2f} | {ratio:.2f} | {100 * (1 - sum(part.lengths) / padded):.1f} "
        f"| {100 * rates[size]:.2f} |"
    )
