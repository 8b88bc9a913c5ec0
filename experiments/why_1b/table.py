"""The README's tables of cells and of seeds, in Markdown, from the folders of runs.

table.py RUNS
"""

import sys
from pathlib import Path

import numpy as np

from khasr.study.design import Design, build_design
from khasr.study.equal_footing import cell_scores, gap, noises
from khasr.study.runs import read_runs
from khasr.study.statistics import Array, t_estimate

REFERENCE = {"model.mask_time_prob": 0.05}  # PROTOCOL.md; khasr's defaults have the heavy masks


def main(folder: str) -> None:
    """Prints both tables."""
    design = build_design(read_runs([Path(folder)]), reference=REFERENCE)
    noise = noises(design)
    print("| cell | small, WER, % | runs | large, WER, % | runs | large less small, points |")
    print("| --- | --- | ---: | --- | ---: | --- |")
    for cell in sorted(design.table["cell"].unique(), key=lambda c: (c != "reference", c)):
        sides = [cell_scores(design, model, cell) for model in design.models]
        cells = []
        for model, scores in zip(design.models, sides, strict=True):
            mean = t_estimate(float(scores.mean()), [noise[model].squared_error(scores)], [float(noise[model].df)])
            cells.append(f"{_percent(mean.value)} [{_percent(mean.low)}, {_percent(mean.high)}] | {len(scores)}")
        small, large = sides
        between = gap(design, small, large)
        changed = f"{_points(between.value)} [{_points(between.low)}, {_points(between.high)}]"
        print(f"| {cell} | {cells[0]} | {cells[1]} | {changed} |")
    print("\n| reference, standard deviation in points | seed | order_seed | both together, and the rest |")
    print("| --- | ---: | ---: | ---: |")
    for model in design.models:
        print(f"| {model} | {' | '.join(f'{100 * s:.2f}' for s in _apart(design, model))} |")


def _apart(design: Design, model: str) -> list[float]:
    """Standard deviations from a crossed table of seeds without repeats (two-way analysis of variance)."""
    rows = design.of(model)
    rows = rows[rows["cell"] == design.reference_cell]
    table: Array = rows.pivot(index="seed", columns="data.order_seed", values="wer").to_numpy(float)
    n = len(table)
    by_seed, by_order = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    rest = float(((table - by_seed - by_order + table.mean()) ** 2).sum() / (n - 1) ** 2)
    # A component's mean square holds n times its variance and the rest's once.
    parts = [max(0.0, float(side.var(ddof=1)) - rest / n) for side in (by_seed, by_order)]
    return [float(np.sqrt(v)) for v in (*parts, rest)]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


if __name__ == "__main__":
    main(sys.argv[1])
