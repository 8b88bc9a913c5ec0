"""The pictures of a study as matplotlib figures. They contain no Khmer, which matplotlib cannot shape."""

import math
import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from khasr.run.published import CARD_CURVE
from khasr.study.design import Design
from khasr.study.effects import Effect
from khasr.study.equal_footing import LR
from khasr.study.hours import HoursCurve
from khasr.study.importance import Importance
from khasr.study.instruments import Instrument, telling
from khasr.study.statistics import best_of_n_band, expected_best
from khasr.study.wording import say
from khasr.text.counting import counted

SMALL, LARGE, GREY, CARD = "#1f4e79", "#b5532a", "#8a8a8a", "#3a7d44"


_MARKERS = {SMALL: "o", LARGE: "s"}


_CARD_STEPS = 5475


_MOST_COLOURS = 8


_WIDTH, _HEIGHT = 6.0, 3.9


def _figure(
    height: float = _HEIGHT, columns: int = 1, rows: int = 1, heights: list[float] | None = None
) -> tuple[Figure, list[Axes]]:
    # Figure instead of pyplot, which keeps figures in memory and needs a backend.
    figure = Figure(figsize=(_WIDTH, height), dpi=150, layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, height_ratios=heights)).flat)
    for each in axes:
        each.grid(alpha=0.25, lw=0.6)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _plain_ticks(axis: Axis) -> None:
    """Few labels on a logarithmic axis; matplotlib's overlap where the axis spans less than a decade."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}" if value < 1e4 else f"{value:.3g}"))
    axis.set_minor_formatter(NullFormatter())


def _narrow(label: str) -> str:
    """A long label in several lines, so that the axes keep their width."""
    return "\n".join(textwrap.wrap(label, 36, break_long_words=False))


def _height_of(labels: list[str]) -> float:
    """The height in inches of rows with these labels."""
    return sum(max(0.3, 0.14 * (1 + label.count("\n"))) for label in labels)


def _sides(design: Design) -> list[tuple[str, str]]:
    return list(zip(design.models, (SMALL, LARGE), strict=False))


def _shifted(design: Design) -> list[tuple[str, str, float]]:
    """Each model with its colour and the shift of its points within a row."""
    shifts = (-0.14, 0.14) if len(design.models) > 1 else (0.0,)
    return [(model, colour, shift) for (model, colour), shift in zip(_sides(design), shifts, strict=True)]


def _legend_above(figure: Figure, axes: Axes, columns: int = 1) -> None:
    """A legend above the axes, where it covers no curve."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False, fontsize=8)


def learning_curves(design: Design, best: dict[str, str]) -> Figure:
    """WER on val against the share of the run: every run thin, means over seeds bold.

    Of one model with few settings each setting has its colour; else the reference and each model's best setting are
    bold. Runs with a single validation are points.
    """
    figure, (axes,) = _figure(_HEIGHT + 0.6)
    curves = design.runs.curves[design.runs.curves["metric"] == "val/wer"]
    rows = curves.merge(design.table[["run", "model", "cell", "steps"]], on="run")
    rows["share"] = 100 * rows["step"] / rows["steps"]
    cells = list(dict.fromkeys([design.reference_cell, *sorted(design.table["cell"].unique())]))
    if len(design.models) == 1 and len(cells) <= _MOST_COLOURS:
        cells = sorted(cells, key=lambda cell: _order_of_cell(design, cell))
        for place, cell in enumerate(cells):
            shade = colormaps["viridis"](0.92 * place / max(1, len(cells) - 1))
            _draw_runs(axes, rows[rows["cell"] == cell], shade, {cell: ("-", cell)}, cell)
    else:
        for model, colour in _sides(design):
            bold = {design.reference_cell: ("--", f"{model}, reference")}
            if model in best and best[model] != design.reference_cell:
                bold[best[model]] = ("-", f"{model}, best: {best[model]}")
            elif model in best:
                bold = {design.reference_cell: ("-", f"{model}, reference, which is its best")}
            _draw_runs(axes, rows[rows["model"] == model], colour, bold, model)
    if "data.name" in design.table and (design.table["data.name"] == "openslr_km").all():
        shares = [100 * row.step / _CARD_STEPS for row in CARD_CURVE]
        wers = [100 * row.wer for row in CARD_CURVE]
        axes.plot(shares, wers, ":", color=CARD, marker=".", label="model card of XLS-R 1B")
    axes.set(xlabel="share of the run, %", ylabel="WER on val, %", xlim=(0, 102))
    axes.set_ylim(0, min(110, axes.get_ylim()[1]))
    _legend_above(figure, axes, 2 if len(axes.get_legend_handles_labels()[0]) > 5 else 1)
    return figure


def _order_of_cell(design: Design, cell: str) -> list[int]:
    row = design.table[design.table["cell"] == cell].head(1)
    return [setting.values.index(setting.of(row)[0]) for setting in design.settings] if len(row) else [-1]


def _draw_runs(axes: Axes, rows: pd.DataFrame, colour: Any, bold: dict[str, tuple[str, str]], of: str) -> None:
    """Every run thin, the mean of the runs of each bold cell, and runs with one validation as points."""
    single = []
    for _, run in rows.groupby("run"):
        if len(run) > 1:
            axes.plot(run["share"], 100 * run["value"], color=colour, lw=0.6, alpha=0.3)
        else:
            single.append((float(run["share"].iloc[0]), 100 * float(run["value"].iloc[0])))
    for cell, (style, label) in bold.items():
        runs = [r.sort_values("share") for _, r in rows[rows["cell"] == cell].groupby("run") if len(r) > 1]
        if not runs:
            continue
        low = max(float(r["share"].iloc[0]) for r in runs)
        high = min(float(r["share"].iloc[-1]) for r in runs)
        at = np.linspace(low, high, 101)
        mean = np.mean([np.interp(at, r["share"], r["value"]) for r in runs], axis=0)
        axes.plot(at, 100 * mean, color=colour, ls=style, lw=2, label=f"{label} ({counted(len(runs), 'run')})")
    if single:
        label = f"{of}: {counted(len(single), 'run')} with one validation"
        axes.plot(*zip(*single, strict=True), "D", color=colour, ms=5, alpha=0.8, label=label)


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
    _legend_above(figure, axes, 2)
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
    """The WER of each model at each value minus that at the reference."""
    keys = list(dict.fromkeys((e.setting, e.value) for e in effects))
    labels = [_narrow(f"{setting} = {' & '.join(map(say, value))}") for setting, value in keys]
    figure, (axes,) = _figure(1.2 + _height_of(labels))
    for model, colour, shift in _shifted(design):
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
    axes.set_xlabel("WER minus that at the reference, points")
    handles = [axes.plot([], [], _MARKERS[c], color=c, label=m)[0] for m, c in _sides(design)]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def seeds(design: Design) -> Figure:
    """The WER of each run, by setting: the spread over seeds."""
    rows = design.table.dropna(subset=["score"])
    repeated = rows.groupby(["model", "cell"]).size()
    cells = sorted(
        {cell for (_, cell), n in repeated.items() if n > 1},
        key=lambda c: (rows[rows["cell"] == c]["score"].min(), c),
    )[:16]
    if not cells:
        cells = list(rows.groupby("cell")["score"].min().sort_values().index[:16])
    labels = [_narrow(cell if len(cell) < 105 else cell[:102] + "...") for cell in cells]
    figure, (axes,) = _figure(1.2 + _height_of(labels))
    for model, colour, shift in _shifted(design):
        for place, cell in enumerate(cells):
            here = rows[(rows["model"] == model) & (rows["cell"] == cell)]["score"]
            axes.plot(100 * here, [place + shift] * len(here), _MARKERS[colour], color=colour, ms=4, alpha=0.75)
    axes.set_yticks(range(len(cells)), labels, fontsize=8)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_xlabel("WER on val, % (100: did not learn)")
    handles = [axes.plot([], [], _MARKERS[c], color=c, label=m)[0] for m, c in _sides(design)]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def hours(curves: list[HoursCurve]) -> Figure:
    """WER against hours of training audio: each run, the mean of each size, the power law and the predictions."""
    figure, (axes,) = _figure()
    for curve, colour in zip(curves, (SMALL, LARGE), strict=False):
        marker = _MARKERS[colour]
        for size in curve.sizes:
            axes.plot([size.hours] * len(size.scores), 100 * size.scores, marker, color=colour, ms=4, alpha=0.35)
        means = [100 * size.mean for size in curve.sizes]
        axes.plot([s.hours for s in curve.sizes], means, marker, color=colour, ms=7, label=f"{curve.model}, mean")
        if len(curve.band):
            at, low, value, high = curve.band.T
            axes.plot(at, 100 * value, color=colour, lw=1.2, label="power law, 95 %")
            axes.fill_between(at, 100 * low, 100 * high, color=colour, alpha=0.15, lw=0)
        given = [p for p in curve.predictions if not p.refused]
        for place, prediction in enumerate(given):
            wer, at_hours = prediction.wer, curve.sizes[-1].hours + prediction.more
            ends = [[100 * (wer.value - wer.low)], [100 * (wer.high - wer.value)]]
            axes.errorbar([at_hours], [100 * wer.value], ends, fmt="D", mfc="white", color=colour, ms=6, capsize=3,
                          label="predicted" if place == 0 else None)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="hours of training audio", ylabel="WER on val, %")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    _legend_above(figure, axes, 3)
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
    _legend_above(figure, axes, 2)
    return figure


def along_the_run(design: Design, rows: pd.DataFrame, axis: str, label: str) -> Figure:
    """WER of each run along the axis, and the lowest of all runs up to there."""
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
            label=f"{model}, lowest so far",
        )
    at = min(float(rows[rows["model"] == m][axis].max()) for m in design.models)
    axes.axvline(at, color=GREY, lw=1, ls=":", label="compared here")
    axes.set(xlabel=label, ylabel="WER on val, %", xscale="log")
    axes.set_ylim(top=min(110, axes.get_ylim()[1]))
    _plain_ticks(axes.xaxis)
    _legend_above(figure, axes, 3)
    return figure


def instruments(design: Design, found: list[Instrument]) -> Figure:
    """The instruments that separate the best from the worst runs most, over the run."""
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
