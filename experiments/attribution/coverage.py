"""Coverage of khasr.explain's 95 % intervals over simulated attributions with planted effects.

python experiments/attribution/coverage.py [SIMULATIONS]      a row for each scenario, as a table
"""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from khasr.study.explain.attribution import Replicates, estimate, estimate_each_seed, gap_weights, shapley_weights

MAIN = (0.06, -0.03, 0.02, 0.0)
PAIR = -0.04  # of the first two factors
UTTERANCES = 120


@dataclass(frozen=True)
class Scenario:
    """What is planted.

    Attributes:
        noise: standard deviation between seeds, as a share of the WER.
        failing: share of runs that do not learn where the first factor is as in B.
        common: noise of a seed that is the same in all cells.
    """

    name: str
    factors: int
    seeds: int
    noise: float = 0.05
    failing: float = 0.0
    common: float = 0.0

    def truth(self) -> NDArray[np.float64]:
        """The expected WER of each cell, a run that did not learn counted as 1."""
        wer, failing = self._cells()
        return (1 - failing) * wer + failing

    def _cells(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cells = np.arange(2**self.factors)
        wer = 0.3 + sum(MAIN[i] * (cells >> i & 1) for i in range(self.factors)) + PAIR * (cells & 3 == 3)
        return wer, self.failing * (cells & 1)

    def draw(self, rng: np.random.Generator) -> Replicates:
        """Runs of all cells on a new sample of utterances."""
        wer, failing = self._cells()
        shape = (self.seeds, len(wer))
        words = rng.integers(3, 9, UTTERANCES)
        hard = rng.gamma(8, 1 / 8, UTTERANCES)
        own = 1 + 0.15 * rng.normal(size=(len(wer), UTTERANCES))
        seeds = rng.normal(1, self.noise, shape) * rng.normal(1, self.common, (self.seeds, 1))
        rates = np.clip(wer[:, None] * hard * own * seeds[:, :, None], 0, 1)
        edits = rng.binomial(words, rates).astype(float)
        edits[rng.random(shape) < failing] = words
        return Replicates(edits.sum(axis=2) / words.sum(), edits, words.astype(float))


SCENARIOS = [
    Scenario("interaction", 2, 6),
    Scenario("interaction", 3, 6),
    Scenario("interaction", 4, 6),
    Scenario("interaction, 3 seeds", 4, 3),
    Scenario("noise 15 %", 4, 6, noise=0.15),
    Scenario("seeds alike in all cells", 4, 6, noise=0.03, common=0.05),
    Scenario("a tenth fails", 4, 6, failing=0.1),
    Scenario("a quarter fails", 4, 6, failing=0.25),
    Scenario("half fails", 4, 6, failing=0.5),
    Scenario("a quarter fails", 3, 6, failing=0.25),
]


def main(simulations: int) -> None:
    """Prints the table."""
    print(f"{simulations} simulations a row; {UTTERANCES} utterances; coverage in %, largest |sum(phi) - gap|\n")
    print("| planted | factors | seeds | gap | each phi | all phi | one phi a seed, all | sum less gap |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    rng = np.random.default_rng(0)
    for scenario in SCENARIOS:
        weights = np.vstack([gap_weights(scenario.factors), shapley_weights(scenario.factors)])
        truth = weights @ scenario.truth()
        pooled, by_seed, off = np.zeros(len(truth)), np.zeros(len(truth)), 0.0
        for _ in range(simulations):
            runs = scenario.draw(rng)
            found = estimate(weights, runs)
            off = max(off, abs(found.values[0] - found.values[1:].sum()))
            for hits, (low, high) in (
                (pooled, found.intervals.T),
                (by_seed, estimate_each_seed(weights, runs).intervals.T),
            ):
                hits += (low <= truth) & (truth <= high)
        pooled, by_seed = 100 * pooled / simulations, 100 * by_seed / simulations
        print(
            f"| {scenario.name} | {scenario.factors} | {scenario.seeds} | {pooled[0]:.1f} "
            f"| {', '.join(f'{h:.1f}' for h in pooled[1:])} | {pooled[1:].mean():.1f} | {by_seed[1:].mean():.1f} "
            f"| {off:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
