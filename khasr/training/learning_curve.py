"""learning_curve.png: loss, WER, CER and learning rate against optimizer steps."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from khasr.training.metrics import read_metrics
from khasr.training.published import PublishedRow

_PANELS = [
    ("loss", {"train/loss": "train", "val/loss": "val"}),
    ("WER, %", {"val/wer": "val"}),
    ("CER, %", {"val/cer": "val"}),
    ("learning rate", {"train/lr": "lr"}),
]
_COLOURS = {"train": "#8fb0cf", "val": "#1f4e79", "lr": "#777777"}


# The card's columns that a panel has, drawn as a dotted line.
_PUBLISHED = {"train/loss": "train_loss", "val/loss": "val_loss", "val/wer": "wer"}


def draw_learning_curve(metrics: Path, picture: Path, title: str, published: Sequence[PublishedRow] = ()) -> None:
    """Draws metrics.csv as a PNG, the published run's curve beside it where one is given; the lowest WER is marked."""
    rows = read_metrics(metrics)
    # Figure, not pyplot: nothing stays in memory after it, whatever backend there is.
    figure = Figure(figsize=(9, 6), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, (label, series) in zip(figure.subplots(2, 2, sharex=True).flat, _PANELS, strict=True):
        scale = 100 if label.endswith("%") else 1
        for key, name in series.items():
            points = [(int(row["step"]), scale * float(row[key])) for row in rows if key in row]
            if points:
                steps, values = zip(*points, strict=True)
                axes.plot(steps, values, label=name, color=_COLOURS[name], marker="o" if name == "val" else None, ms=3)
                if key == "val/wer":
                    step, lowest = min(points, key=lambda point: point[1])
                    axes.plot(step, lowest, "o", color="#b03030")
                    axes.set_title(f"lowest {lowest:.1f} % at step {step:,}", fontsize=9, color="#b03030")
            if published and key in _PUBLISHED:
                theirs = [scale * getattr(row, _PUBLISHED[key]) for row in published]
                at = [row.step for row in published]
                axes.plot(at, theirs, ":", label=f"{name}, published", color=_COLOURS[name], marker="x", ms=4)
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        if label == "loss":
            axes.set_yscale("log")
        elif label == "learning rate":
            axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        else:
            axes.set_ylim(bottom=0)
        if len(axes.get_lines()) > 1 and axes.get_legend_handles_labels()[0][1:]:
            axes.legend(edgecolor="none", fontsize=9)
        if label in ("CER, %", "learning rate"):
            axes.set_xlabel("optimizer step")
    figure.savefig(picture)
