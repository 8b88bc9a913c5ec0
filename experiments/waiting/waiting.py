"""Simulates how long GPUs wait for the slowest of them, from the lengths of their batches: python waiting.py.

Prints and writes waiting.csv. The time of a batch is taken as proportional to its samples, padding included.
"""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from khasr.data.audio import SAMPLE_RATE
from khasr.data.batching import TrainingOrder

UTTERANCES, MEAN_SECONDS = 2353, 5
SPREADS = {"narrow, sd 30 %": 0.3, "as FLEURS, sd 50 %": 0.5}
SIZES: dict[str, dict[str, Any]] = {
    "batch_size=8": {"batch_size": 8},
    "batch_size=2": {"batch_size": 2},
    "batch_seconds=40": {"batch_size": 8, "batch_samples": 40 * SAMPLE_RATE},
    "batch_seconds=160": {"batch_size": 8, "batch_samples": 160 * SAMPLE_RATE},
}
EPOCHS = 4


class Unlike(TrainingOrder):
    """The order of before: batches are dealt to the ranks whatever their lengths."""

    def _shuffled(self, batches: list[list[int]], generator: np.random.Generator) -> list[list[int]]:
        return [batches[i] for i in generator.permutation(len(batches))]


def lengths(spread: float) -> NDArray[np.int64]:
    """Lengths in samples: log-normal, 1 to 25 s."""
    drawn = np.random.default_rng(0).lognormal(np.log(MEAN_SECONDS) - spread**2 / 2, spread, UTTERANCES)
    return (SAMPLE_RATE * np.clip(drawn, 1, 25)).astype(int)


def waiting(
    kind: type[TrainingOrder], of: NDArray[np.int64], ranks: int, accumulate: int, size: dict[str, Any]
) -> tuple[float, float, float]:
    """Time relative to no waiting, less 1, if ranks meet at each batch or at each step; and the padding."""
    orders = [
        kind(of.tolist(), by_length=True, seed=1, accumulate=accumulate, rank=rank, ranks=ranks, **size)
        for rank in range(ranks)
    ]
    batches = [[batch for epoch in range(EPOCHS) for batch in order.epoch(epoch)] for order in orders]
    costs = np.array([[of[batch].max() * len(batch) for batch in mine] for mine in batches], dtype=float)
    audio = sum(of[batch].sum() for mine in batches for batch in mine)
    ideal = costs.mean(axis=0).sum()
    steps = costs.reshape(ranks, -1, accumulate).sum(axis=2)
    return costs.max(axis=0).sum() / ideal - 1, steps.max(axis=0).sum() / ideal - 1, 1 - audio / costs.sum()


def rows() -> Iterator[dict[str, Any]]:
    """A row for each distribution of lengths, size of batches, number of ranks and accumulation."""
    for (name, spread), (label, size) in itertools.product(SPREADS.items(), SIZES.items()):
        of = lengths(spread)
        for ranks, accumulate in ((2, 1), (4, 1), (8, 1), (8, 4)):
            try:
                before, _, before_padding = waiting(Unlike, of, ranks, accumulate, size)
                each, step, padding = waiting(TrainingOrder, of, ranks, accumulate, size)
            except ValueError:  # an epoch is shorter than a step
                continue
            yield {
                "lengths": name, "batches": label, "ranks": ranks, "accumulation": accumulate,
                "unlike lengths, %": f"{100 * before:.1f}", "like lengths, %": f"{100 * each:.1f}",
                "like, once per step, %": f"{100 * step:.1f}", "padding before, %": f"{100 * before_padding:.1f}",
                "padding, %": f"{100 * padding:.1f}",
            }  # fmt: skip


def main() -> None:
    """Prints the table, and writes waiting.csv."""
    table = list(rows())
    with Path(__file__).with_name("waiting.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print("| " + " | ".join(table[0]) + " |\n|" + " --- |" * len(table[0]))
    for row in table:
        print("| " + " | ".join(map(str, row.values())) + " |")


if __name__ == "__main__":
    main()
