"""Draws docs/overview.png, the picture of the front page: the data flow, and the quickstart's learning curves.

python experiments/quickstart/overview.py
"""

import csv
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "docs" / "overview.png"
SEEDS = (1, 2, 3)
BLUE, ORANGE, GREY = "#1f4e79", "#c07000", "#666666"
# What is computed, and the folder of khasr/ that computes it.
STAGES = [
    ("utterances", "data/corpora"),
    ("train, val, test", "data/splits"),
    ("waveforms", "data/batching"),
    ("log-probabilities", "model, training"),
    ("hypotheses", "decoding, lm"),
    ("WER, CER", "scoring"),
    ("verdict", "study"),
]


def draw_flow(axes: Axes) -> None:
    """One box per stage, from left to right."""
    width, gap = 1.0, 0.28
    for place, (what, where) in enumerate(STAGES):
        left = place * (width + gap)
        axes.add_patch(
            FancyBboxPatch(
                (left, 0), width, 0.6, boxstyle="round,pad=0.02,rounding_size=0.08", facecolor="#eef3f8", edgecolor=BLUE
            )
        )
        axes.text(left + width / 2, 0.3, what, ha="center", va="center", fontsize=8.5)
        axes.text(left + width / 2, -0.22, where, ha="center", va="center", fontsize=8, color=GREY, family="monospace")
        if place:
            arrow = {"arrowstyle": "->", "color": BLUE, "lw": 1.3}
            axes.annotate("", (left - 0.03, 0.3), (left - gap + 0.03, 0.3), arrowprops=arrow)
    axes.set(xlim=(-0.1, len(STAGES) * (width + gap) - gap + 0.1), ylim=(-0.4, 0.75))
    axes.axis("off")


def draw_curves(axes: Axes) -> None:
    """WER and CER on val by optimizer step, one line per seed."""
    for name, label, colour, at in (("val/wer", "WER", BLUE, (800, 74)), ("val/cer", "CER", ORANGE, (410, 62))):
        for seed in SEEDS:
            with (HERE / "results" / f"synthetic_seed{seed}.csv").open(encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row[name]]
            steps, rates = [int(row["step"]) for row in rows], [100 * float(row[name]) for row in rows]
            axes.plot(steps, rates, color=colour, lw=1.4, marker=".", alpha=0.8)
        axes.text(*at, label, color=colour, fontsize=11)
    axes.set(xlim=(200, 2500), xlabel="optimizer step", ylabel="% on val", ylim=(0, 105))
    axes.set_title("experiment=quickstart, three seeds, about 3 minutes of training each on two CPU cores", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Writes the picture."""
    figure = Figure(figsize=(10, 4.4), dpi=120, layout="constrained")
    flow, curves = figure.subplots(2, 1, height_ratios=[1, 2.6])
    draw_flow(flow)
    draw_curves(curves)
    figure.savefig(OUT)


if __name__ == "__main__":
    main()
