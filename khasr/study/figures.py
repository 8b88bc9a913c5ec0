"""The study's pictures, each a matplotlib figure; Khmer stays out of them, since matplotlib does not shape it."""

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from khasr.run.published import CARD_CURVE
from khasr.study.design import Design
from khasr.study.effects import Effect
from khasr.study.equal_footing import LR
from khasr.study.importance import Importance
from khasr.study.instruments import Instrument, telling
from khasr.study.statistics import best_of_n_band, expected_best
from khasr.study.wording import say

SMALL, LARGE, GREY, CARD = "#1f4e79", "#b5532a", "#8a8a8a", "#3a7d44"


_MARKERS = {SMALL: "o", LARGE: "s"}


_CARD_STEPS = 5475


_WIDTH, _HEIGHT = 6.0, 3.9


def _figure(
    height: float = _HEIGHT, columns: int = 1, rows: int = 1, heights: list[float] | None = None
) -> tuple[Figure, list[Axes]]:
    # Figure, not pyplot: nothing stays in memory after it, whatever backend there is.
    figure = Figure(figsize=(_WIDTH, height), dpi=150, layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, height_ratios=heights)).flat)
    for each in axes:
        each.grid(alpha=0.25, lw=0.6)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _plain_ticks(axis: Axis) -> None:
    """Few labels on a logarithmic axis, also where it spans less than a decade, where matplotlib's run together."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}" if value < 1e4 else f"{value:.3g}"))
    axis.set_minor_formatter(NullFormatter())


def _narrow(label: str) -> str:
    """A label in lines, so that it leaves room for what it is the label of."""
    return "\n".join(textwrap.wrap(label, 36, break_long_words=False))


def _height_of(labels: list[str]) -> float:
    """Inches that so many rows take, each as high as its label."""
    return sum(max(0.3, 0.14 * (1 + label.count("\n"))) for label in labels)


def _sides(design: Design) -> list[tuple[str, str]]:
    return [(design.small, SMALL), (design.large, LARGE)]


def learning_curves(design: Design, best: dict[str, str]) -> Figure:
    """WER on val against the share of the run, every run thin, the reference and the best setting bold; the card's."""
    figure, (axes,) = _figure()
    curves = design.runs.curves[design.runs.curves["metric"] == "val/wer"]
    rows = curves.merge(design.table[["run", "model", "cell", "steps"]], on="run")
    rows["share"] = 100 * rows["step"] / rows["steps"]
    grid = np.linspace(0, 100, 101)
    for model, colour in _sides(design):
        of_model = rows[rows["model"] == model]
        for _, run in of_model.groupby("run"):
            axes.plot(run["share"], 100 * run["value"], color=colour, lw=0.6, alpha=0.25)
        cells = {design.reference_cell: "--", best.get(model, design.reference_cell): "-"}
        for cell, style in cells.items():
            runs = [r.sort_values("share") for _, r in of_model[of_model["cell"] == cell].groupby("run")]
            runs = [r for r in runs if len(r) > 1]
            if runs:
                low = max(float(r["share"].iloc[0]) for r in runs)
                high = min(float(r["share"].iloc[-1]) for r in runs)
                at = grid[(grid >= low) & (grid <= high)]
                mean = np.mean([np.interp(at, r["share"], r["value"]) for r in runs], axis=0)
                label = f"{model}, {'reference' if cell == design.reference_cell else 'best: ' + cell} ({len(runs)})"
                axes.plot(at, 100 * mean, color=colour, ls=style, lw=2, label=label)
    shares = [100 * row.step / _CARD_STEPS for row in CARD_CURVE]
    axes.plot(shares, [100 * row.wer for row in CARD_CURVE], ":", color=CARD, marker=".", label="the card's XLS-R 1B")
    axes.set(xlabel="share of the run, %", ylabel="WER on val, %", xlim=(0, 102))
    axes.set_ylim(0, min(110, axes.get_ylim()[1]))
    axes.legend(frameon=False, fontsize=8)
    return figure


def best_of_n(design: Design, seed: int = 0) -> Figure:
    """Expected best WER against the number of trials, with 80 and 95 % bands."""
    figure, (axes,) = _figure()
    for model, colour in _sides(design):
        scores = design.of(model)["score"].dropna().to_numpy(float)
        if len(scores) < 2:
            continue
        n = np.arange(1, len(scores) + 1)
        band = best_of_n_band(scores, 1000, np.random.default_rng(seed))
        for low, high, alpha in ((0.025, 0.975, 0.12), (0.1, 0.9, 0.2)):
            axes.fill_between(n, *(100 * np.quantile(band, [low, high], axis=0)), color=colour, alpha=alpha, lw=0)
        axes.plot(n, 100 * expected_best(scores), color=colour, lw=2, marker=_MARKERS[colour], ms=3, label=model)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trials", ylabel="expected best WER on val, %")
    axes.legend(frameon=False)
    return figure


def importance(shares: dict[str, list[Importance]]) -> Figure:
    """The share of the variance that each setting explains, for each model and for both together."""
    filled = {name: found for name, found in shares.items() if found}
    labels = {name: [_narrow(i.setting) for i in found[:12]][::-1] for name, found in filled.items()}
    heights = [_height_of(of) + 0.55 for of in labels.values()] or [1.0]
    figure, axes = _figure(0.9 + sum(heights), rows=len(heights), heights=heights)
    for each, (name, found) in zip(axes, filled.items(), strict=False):
        top = found[:12][::-1]
        values = np.array([100 * i.share for i in top])
        errors = np.abs(np.array([[100 * i.low, 100 * i.high] for i in top]).T - values)
        each.barh(labels[name], values, xerr=errors, color="#7f9fbf", ecolor="#444444", height=0.6)
        each.set_title(name, fontsize=9, loc="left")
        each.set_xlim(0, 100)
        each.tick_params(labelsize=8)
    axes[-1].set_xlabel("share of the variance of WER, % (line: over refits)", fontsize=9)
    return figure


def main_effects(design: Design, effects: list[Effect]) -> Figure:
    """What each value does to the WER of each model, against the reference."""
    keys = list(dict.fromkeys((e.setting, e.value) for e in effects))
    labels = [_narrow(f"{setting} = {' & '.join(map(say, value))}") for setting, value in keys]
    figure, (axes,) = _figure(1.2 + _height_of(labels))
    for (model, colour), shift in zip(_sides(design), (-0.14, 0.14), strict=True):
        for place, key in enumerate(keys):
            for effect in (e for e in effects if e.model == model and (e.setting, e.value) == key):
                value, low, high = (100 * v for v in (effect.estimate.value, effect.estimate.low, effect.estimate.high))
                axes.plot([low, high], [place + shift] * 2, color=colour, lw=1.4)
                axes.plot(
                    value, place + shift, _MARKERS[colour], color=colour, ms=5, label=model if place == 0 else None
                )
    axes.axvline(0, color="#444444", lw=0.8)
    axes.set_yticks(range(len(keys)), labels, fontsize=8)
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_xlabel("WER less that at the reference, points")
    handles = [axes.plot([], [], _MARKERS[c], color=c, label=m)[0] for m, c in _sides(design)]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def seeds(design: Design) -> Figure:
    """The WER of each run, by setting: the spread over seeds."""
    rows = design.table.dropna(subset=["score"])
    repeated = rows.groupby(["model", "cell"]).size()
    cells = sorted(
        {cell for (_, cell), n in repeated.items() if n > 1},
        key=lambda c: (rows[rows["cell"] == c]["score"].min(), c),  # the same order each time
    )[:16]
    if not cells:
        cells = list(rows.groupby("cell")["score"].min().sort_values().index[:16])
    labels = [_narrow(cell if len(cell) < 105 else cell[:102] + "...") for cell in cells]
    figure, (axes,) = _figure(1.2 + _height_of(labels))
    for (model, colour), shift in zip(_sides(design), (-0.14, 0.14), strict=True):
        for place, cell in enumerate(cells):
            here = rows[(rows["model"] == model) & (rows["cell"] == cell)]["score"]
            axes.plot(100 * here, [place + shift] * len(here), _MARKERS[colour], color=colour, ms=4, alpha=0.75)
    axes.set_yticks(range(len(cells)), labels, fontsize=8)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_xlabel("WER on val, % (100: nothing learned)")
    handles = [axes.plot([], [], _MARKERS[c], color=c, label=m)[0] for m, c in _sides(design)]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def against_lr(design: Design) -> Figure:
    """WER of each run against its lr."""
    figure, (axes,) = _figure()
    for model, colour in _sides(design):
        rows = design.of(model).dropna(subset=["score"])
        rows = rows[rows[LR] > 0]
        axes.plot(rows[LR], 100 * rows["score"], _MARKERS[colour], color=colour, ms=4, alpha=0.5)
        lowest = rows.groupby(LR)["score"].min()
        axes.plot(lowest.index, 100 * lowest, color=colour, lw=1.5, label=f"{model}, lowest")
    axes.set(xscale="log", xlabel="peak lr", ylabel="WER on val, %")
    _plain_ticks(axes.xaxis)
    axes.legend(frameon=False)
    return figure


def along_the_run(design: Design, rows: pd.DataFrame, axis: str, label: str) -> Figure:
    """WER of each run as it goes along the axis, and the lowest of all runs by then."""
    figure, (axes,) = _figure()
    for model, colour in _sides(design):
        of_model = rows[rows["model"] == model]
        for _, run in of_model.groupby("run"):
            axes.plot(run[axis], 100 * run["wer"], color=colour, lw=0.6, alpha=0.25)
        ordered = of_model.sort_values(axis)
        axes.step(
            ordered[axis],
            100 * ordered["wer"].cummin(),
            where="post",
            color=colour,
            lw=2,
            label=f"{model}, lowest by then",
        )
    at = min(float(rows[rows["model"] == m][axis].max()) for m in design.models)
    axes.axvline(at, color=GREY, lw=1, ls=":", label="compared here")
    axes.set(xlabel=label, ylabel="WER on val, %", xscale="log")
    axes.set_ylim(top=min(110, axes.get_ylim()[1]))
    _plain_ticks(axes.xaxis)
    axes.legend(frameon=False, fontsize=8)
    return figure


def instruments(design: Design, found: list[Instrument]) -> Figure:
    """The most telling instruments over the run, for the best and the worst runs of each model."""
    shown = telling(found, 8)
    rows = (len(shown) + 1) // 2
    figure, axes = _figure(0.5 + 1.9 * rows, columns=2, rows=rows)
    for each in axes[len(shown) :]:
        each.set_visible(False)
    styles = {"best": "-", "worst": ":"}
    for each, instrument in zip(axes, shown, strict=False):
        positive = True
        for model, colour in _sides(design):
            for group, style in styles.items():
                for run in instrument.runs.get((model, group), []):
                    points = design.runs.curves
                    points = points[(points["run"] == run) & (points["metric"] == instrument.name)].sort_values("step")
                    positive &= bool((points["value"] > 0).all())
                    share = (
                        100 * points["step"] / max(float(points["step"].max()), 1.0) if len(points) else points["step"]
                    )
                    each.plot(share, points["value"], style, color=colour, lw=1.1, alpha=0.8)
        if positive:
            each.set_yscale("log")
            _plain_ticks(each.yaxis)
        each.set_title(instrument.name, fontsize=8, loc="left")
        each.tick_params(labelsize=7, which="both")
    for each in axes[max(0, len(shown) - 2) : len(shown)]:
        each.set_xlabel("share of the run, %", fontsize=8)
    handles = [
        axes[0].plot([], [], s, color=c, label=f"{m}, {g}")[0] for m, c in _sides(design) for g, s in styles.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure
