"""learning_curve.png: loss, WER, CER and learning rate against optimizer steps, and the instruments below them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from khasr.run.folder import read_metrics
from khasr.run.published import PublishedRow

Rows = list[dict[str, str]]

_PANELS = [
    ("loss", {"train/loss": "train", "val/loss": "val"}),
    ("WER, %", {"val/wer": "val"}),
    ("CER, %", {"val/cer": "val"}),
    ("learning rate", {"train/lr": "lr"}),
]

_COLOURS = {"train": "#8fb0cf", "val": "#1f4e79", "lr": "#777777"}

# The columns of the published curve by our columns; drawn as dotted lines.
_PUBLISHED = {"train/loss": "train_loss", "val/loss": "val_loss", "val/wer": "wer"}


def draw_learning_curve(metrics: Path, picture: Path, title: str, published: Sequence[PublishedRow] = ()) -> None:
    """Draws metrics.csv as a PNG with the lowest WER marked, and the published curve as dotted lines if given."""
    rows = read_metrics(metrics)
    # Figure instead of pyplot, which keeps figures in memory and needs a backend.
    figure = Figure(figsize=(9, 16), dpi=120)
    first, second = cast(Any, figure.subfigures(2, 1, height_ratios=[6, 10]))
    # Fixed margins: a constrained layout draws everything twice, half of the time at the end of a short run.
    first.subplots_adjust(left=0.13, right=0.97, bottom=0.1, top=0.86, wspace=0.38, hspace=0.34)
    second.subplots_adjust(left=0.13, right=0.9, bottom=0.06, top=0.88, wspace=0.38, hspace=0.44)
    _draw_scores(first, rows, title, published)
    _draw_instruments(second, rows)
    figure.savefig(picture)


def _draw_scores(page: SubFigure, rows: Rows, title: str, published: Sequence[PublishedRow]) -> None:
    page.suptitle(title, fontsize=11)
    for axes, (label, series) in zip(page.subplots(2, 2, sharex=True).flat, _PANELS, strict=True):
        scale = 100 if label.endswith("%") else 1
        for key, name in series.items():
            points = _points(rows, key, scale)
            if points:
                steps, values = zip(*points, strict=True)
                axes.plot(steps, values, label=name, color=_COLOURS[name], marker="o" if name == "val" else None, ms=3)
                if key == "val/wer":
                    step, lowest = min(points, key=lambda point: point[1])
                    axes.plot(step, lowest, "o", color="#b03030", label=f"lowest: {lowest:.1f} % at step {step:,}")
            if published and key in _PUBLISHED:
                curve = [(row.step, scale * getattr(row, _PUBLISHED[key])) for row in published]
                axes.plot(
                    *zip(*curve, strict=True), ":", label=f"{name}, published", color=_COLOURS[name], marker="x", ms=4
                )
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        if label == "loss":
            axes.set_yscale("log")
        elif label == "learning rate":
            axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        else:
            axes.set_ylim(bottom=0)
        if label != "learning rate":
            _legend_above(axes)
        if label in ("CER, %", "learning rate"):
            axes.set_xlabel("optimizer step")


def _points(rows: Rows, key: str, scale: float = 1) -> list[tuple[int, float]]:
    return [(int(row["step"]), scale * float(row[key])) for row in rows if key in row]


def _legend_above(axes: Axes, columns: int = 2) -> None:
    """A legend between the panel and the one above it, where it covers no curve."""
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(
            edgecolor="none", fontsize=8, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0),
            borderaxespad=0.2, columnspacing=1.2, handlelength=1.4,
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- second page

_SHARES = {
    "train/blank_share": "blank frames, train",
    "val/blank_share": "blank frames, val",
    "train/padding_share": "padding",
    "train/skipped_share": "skipped steps (fp16)",
}

_BY_PART = {
    "grad_norm/": "norm of the gradient",
    "update_ratio/": "|update| / |weights|",
    "drift/": "drift: |change| / |start|",
}

_PART_COLOURS = {"feature_encoder": "#999999", "input": "#d08020", "norm": "#60a060", "head": "#b03030"}


def _draw_instruments(page: SubFigure, rows: Rows) -> None:
    page.suptitle("instruments", fontsize=11)
    shares, *by_part, time, lr_area = page.subplots(3, 2).flat
    _draw_shares(shares, rows)
    for axes, (prefix, label) in zip(by_part, _BY_PART.items(), strict=True):
        _draw_parts(axes, rows, prefix)
        axes.set_ylabel(label)
    _draw_time(time, rows)
    _draw_lr_area(lr_area, rows)
    for axes in (time, lr_area):
        axes.set_xlabel("optimizer step")


def _draw_shares(axes: Axes, rows: Rows) -> None:
    for key, label in _SHARES.items():
        if points := _points(rows, key, 100):
            axes.plot(*zip(*points, strict=True), label=label, marker="o" if key.startswith("val") else None, ms=3)
    axes.set_ylim(-2, 102)
    axes.set_ylabel("share, %")
    axes.grid(alpha=0.25)
    _legend_above(axes)


def _draw_parts(axes: Axes, rows: Rows, prefix: str) -> None:
    """A line for each part of the model: layers from light (lowest) to dark, other parts in their own colours."""
    parts = sorted({key.removeprefix(prefix) for row in rows for key in row if key.startswith(prefix)})
    layers = [part for part in parts if part.startswith("layer_")]
    for part in parts:
        points = [(step, value) for step, value in _points(rows, prefix + part) if value > 0]
        if not points:
            continue
        colour = _PART_COLOURS.get(part) or colormaps["Blues"](0.3 + 0.7 * layers.index(part) / max(1, len(layers) - 1))
        # Of the layers only the lowest and the highest are in the legend.
        named = part in _PART_COLOURS or part in (layers[0], layers[-1])
        label = part.replace("_", " ") if named else None
        axes.plot(*zip(*points, strict=True), color=colour, lw=1, label=label)
    axes.grid(alpha=0.25)
    if axes.get_lines():
        axes.set_yscale("log")
        _legend_above(axes, columns=3)


def _draw_time(axes: Axes, rows: Rows) -> None:
    stages = [key for key in dict.fromkeys(k for row in rows for k in row) if key.startswith("time/")]
    complete = [row for row in rows if all(key in row for key in stages)] if stages else []
    if complete:
        axes.stackplot(
            [int(row["step"]) for row in complete],
            [[100 * float(row[key]) for row in complete] for key in stages],
            labels=[key.removeprefix("time/") for key in stages],
            colors=["#d8c080", "#8fb0cf", "#1f4e79", "#b0b0b0"],
        )
    axes.set_ylabel("share of the time, %")
    _legend_above(axes, columns=4)


def _draw_lr_area(axes: Axes, rows: Rows) -> None:
    if points := _points(rows, "train/lr_area"):
        axes.plot(*zip(*points, strict=True), color="#777777")
    axes.set_ylabel("lr summed over steps")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    if points := _points(rows, "train/audio_seconds", 1 / 3600):
        hours = axes.twinx()
        hours.plot(*zip(*points, strict=True), color="#1f4e79", ls="--")
        hours.set_ylabel("hours of audio (dashed)", color="#1f4e79")
        hours.set_ylim(bottom=0)
