"""WER against hours of training audio (data.train_hours): a power law with its interval, and what more hours give."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from khasr.study.design import Design
from khasr.study.statistics import LEVEL, Array, Estimate, seed_noise
from khasr.study.wording import amount_of, joined, points, say
from khasr.text.counting import counted

HOURS = "data.train_hours"

FEWEST_SIZES = 3

FARTHEST = 3.0
"""Predictions reach to this many times the hours of the largest size: a power law is a description of the sizes that
were run, and a floor or a bend beyond them does not show in them."""

WIDEST = 0.5
"""A prediction whose interval is wider than this share of it is not given."""

USUAL_MORE = 10.0
"""Hours that are added unless others are asked for."""

_QUANTILES = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


@dataclass(frozen=True)
class Size:
    """The runs at one amount of training audio, and their WERs."""

    hours: float
    runs: list[str]
    scores: Array

    @property
    def mean(self) -> float:
        """Mean WER of the runs."""
        return float(self.scores.mean())


@dataclass(frozen=True)
class Prediction:
    """The WER with that many more hours than the largest size has; `refused` is the reason if it is not given."""

    more: float
    wer: Estimate
    refused: str = ""


@dataclass
class HoursCurve:
    """The WER of a model against hours of training audio, all other settings equal.

    Attributes:
        others: the other settings, as text; empty if nothing else varies.
        exponent: b of WER = a x hours^-b.
        band: rows of hours, low, value and high of the law along the hours.
        refused: why no power law is given; empty if one is.
        notes: what the curve leaves out.
    """

    model: str
    others: str
    sizes: list[Size]
    exponent: Estimate = field(default_factory=lambda: Estimate(math.nan))
    band: Array = field(default_factory=lambda: np.empty((0, 4)))
    predictions: list[Prediction] = field(default_factory=list)
    refused: str = ""
    notes: list[str] = field(default_factory=list)


def hours_curves(design: Design, more: float | None = None, seed: int = 0) -> list[HoursCurve]:
    """The curve of each model whose runs have several values of data.train_hours.

    Args:
        more: hours to add to the largest size; 10 if None or, where that is too far, as many as it has.
    """
    if not any(HOURS in setting.columns for setting in design.settings):
        return []
    curves = [_curve(design, model) for model in design.models]
    found = [curve for curve in curves if curve is not None and len(curve.sizes) > 1]
    for curve in found:
        _fit(design, curve, more, np.random.default_rng(seed))
    return found


def _curve(design: Design, model: str) -> HoursCurve | None:
    """The sizes of one combination of the other settings: that with most sizes, then with the lowest WER at the end."""
    rows = design.of(model)
    rows = rows[rows["score"].notna()].copy()
    rows["hours"] = _hours(rows)
    rows = rows[rows["hours"] > 0]
    others = [s for s in design.settings if HOURS not in s.columns]
    keys: list[tuple[tuple[Any, ...], ...]] = [
        tuple(values) for values in zip(*(s.of(rows) for s in others), strict=True)
    ]
    keys = keys or [()] * len(rows)
    choices: list[tuple[int, float, int, tuple[tuple[Any, ...], ...], list[Size], list[float]]] = []
    for key in dict.fromkeys(keys):
        members = rows[[k == key for k in keys]]
        sizes, unlearned = _sizes(members)
        if sizes:
            choices.append((-len(sizes), sizes[-1].mean, len(choices), key, sizes, unlearned))
    if not choices:
        return None
    *_, key, sizes, unlearned = min(choices)
    together = [c for s in design.settings if HOURS in s.columns for c in s.columns if c != HOURS]
    text = ", ".join(
        f"{c} = {say(v)}" for s, values in zip(others, key, strict=True) for c, v in zip(s.columns, values, strict=True)
    )
    curve = HoursCurve(model, text, sizes)
    if unlearned:
        curve.notes.append(f"Left out, because no run learned: {joined([f'{amount_of(h)} h' for h in unlearned])}.")
    if len(choices) > 1:
        curve.notes.append(f"Of {len(choices)} combinations of the other settings, this one was run with most sizes.")
    if together:
        verb = "changes" if len(together) == 1 else "change"
        curve.notes.append(f"{joined(together)} {verb} with the hours in every run, so the curve is of both together.")
    return curve


def _hours(rows: pd.DataFrame) -> "pd.Series[float]":
    """Hours of training audio of each run: as measured, else as asked for."""
    asked = pd.to_numeric(rows[HOURS], errors="coerce")
    return pd.to_numeric(rows["train_hours"], errors="coerce").fillna(asked).astype(float)


def _sizes(rows: pd.DataFrame) -> tuple[list[Size], list[float]]:
    """The sizes at which runs learned, and the hours of those at which none did, both in order."""
    sizes, unlearned = [], []
    for _, members in rows.groupby(rows[HOURS].map(say)):
        learned = members[members["learned"]]
        if len(learned):
            scores = learned["score"].to_numpy(float)
            sizes.append(Size(float(learned["hours"].mean()), list(learned["run"]), scores))
        else:
            unlearned.append(float(members["hours"].mean()))
    return sorted(sizes, key=lambda size: size.hours), sorted(unlearned)


def _fit(design: Design, curve: HoursCurve, more: float | None, rng: np.random.Generator, draws: int = 4000) -> None:
    """Adds the power law, its interval and the predictions, or the reason why there are none.

    The law is a line through the logarithms of hours and mean WER, weighted by the number of runs. Its interval is from
    draws of the means: the noise between seeds, pooled over the sizes, whose own uncertainty is drawn too, and a
    bootstrap of the utterances of val, which are the same for all runs. If the means deviate from the line by more than
    that noise, the noise is widened to the deviation.
    """
    sizes = curve.sizes
    hours, means = np.log([s.hours for s in sizes]), np.array([s.mean for s in sizes])
    runs = np.array([len(s.scores) for s in sizes], dtype=float)
    noise = seed_noise([s.scores for s in sizes])
    curve.refused = _unsupported(sizes, noise.df)
    if curve.refused:
        return
    line = np.polyfit(hours, np.log(means), 1, w=np.sqrt(runs))
    residuals = np.log(means) - np.polyval(line, hours)
    degrees = len(sizes) - 2
    ratio = float((residuals**2 * runs).sum()) / degrees / max(noise.share**2, 1e-12)
    if stats.f.sf(ratio, degrees, noise.df) < 1 - LEVEL:
        curve.refused = (
            "the sizes do not lie on a power law: they deviate from it by more than the noise between seeds "
            f"(p {stats.f.sf(ratio, degrees, noise.df):.3f})"
        )
        return
    spread = noise.share * math.sqrt(max(1.0, ratio)) * np.sqrt(noise.df / rng.chisquare(noise.df, draws))
    drawn = np.log(means)[:, None] + rng.standard_normal((len(sizes), draws)) * spread / np.sqrt(runs)[:, None]
    drawn += _utterance_draws(design, sizes, draws, rng)
    lines = np.polyfit(hours, drawn, 1, w=np.sqrt(runs))
    low, high = np.quantile(-lines[0], _QUANTILES)
    curve.exponent = Estimate(float(-line[0]), float(low), float(high))

    def law(at: float) -> Estimate:
        value = math.exp(np.polyval(line, math.log(at)))
        ends = np.exp(np.quantile(lines[0] * math.log(at) + lines[1], _QUANTILES))
        return Estimate(value, float(ends[0]), float(ends[1]))

    largest = sizes[-1].hours
    curve.predictions = _predictions(curve.exponent, largest, more, law)
    end = max([largest, *(largest + p.more for p in curve.predictions if not p.refused)])
    grid = np.geomspace(sizes[0].hours, end, 60)
    curve.band = np.array([(h, (e := law(h)).low, e.value, e.high) for h in grid])


def _unsupported(sizes: list[Size], df: int) -> str:
    """Why the sizes do not support a power law; empty if they may."""
    if len(sizes) < FEWEST_SIZES:
        return f"a power law needs {FEWEST_SIZES} sizes at which runs learned; there are {len(sizes)}"
    if not df:
        return "no size has two runs that learned, so the noise between seeds is not known (-m seed=1,2,3)"
    for before, after in pairwise(sizes):
        if after.mean >= before.mean:
            return (
                f"the WER does not fall with the hours: {points(before.mean)} % at {amount_of(before.hours)} h, "
                f"{points(after.mean)} % at {amount_of(after.hours)} h"
            )
    return ""


def _utterance_draws(design: Design, sizes: list[Size], draws: int, rng: np.random.Generator) -> Array:
    """Deviations of the log of each size's WER under resampling of val's utterances, (sizes, draws); 0 if unknown."""
    table = design.runs.hypotheses
    table = table[(table["part"] == "val") & table["run"].isin([run for size in sizes for run in size.runs])]
    edits = [table[table["run"].isin(size.runs)].groupby("id")["edits"].mean() for size in sizes]
    words = table.groupby("id")["words"].first()
    shared = words.index
    for of_size in edits:
        shared = shared.intersection(of_size.index)
    if len(shared) < 2:
        return np.zeros((len(sizes), draws))
    counts = rng.multinomial(len(shared), np.full(len(shared), 1 / len(shared)), draws)
    of_words = counts @ words[shared].to_numpy(float)
    found = []
    for of_size in edits:
        errors = of_size[shared].to_numpy(float)
        rate = errors.sum() / words[shared].sum()
        found.append(np.log(np.maximum(counts @ errors / of_words, 1e-4)) - math.log(max(rate, 1e-4)))
    return np.array(found)


def _predictions(
    exponent: Estimate, largest: float, more: float | None, law: Callable[[float], Estimate]
) -> list[Prediction]:
    """The predictions asked for: a refused one has its reason."""
    asked = [USUAL_MORE if more is None else more]
    if more is None and asked[0] + largest > FARTHEST * largest:
        asked.append(largest)
    found = []
    for hours in asked:
        wer, refused = law(largest + hours), ""
        if hours + largest > FARTHEST * largest:
            refused = (
                f"that is {(hours + largest) / largest:.3g} times the audio of the largest size, "
                f"{amount_of(largest)} h, and predictions are made up to {FARTHEST:g} times"
            )
        elif exponent.low <= 0:
            refused = "it is not shown that the WER falls with the hours: the interval of the exponent includes 0"
        elif wer.high - wer.low > WIDEST * wer.value:
            refused = f"the interval is too wide, {points(wer.low)} to {points(wer.high)} % (more seeds narrow it)"
        found.append(Prediction(hours, wer, refused))
    return found


def hours_sentences(curve: HoursCurve) -> list[str]:
    """The curve in words."""
    first, last = curve.sizes[0], curve.sizes[-1]
    if curve.refused:
        return [f"{curve.model}, more hours: nothing is predicted, because {curve.refused}."]
    b = curve.exponent
    sentences = []
    for prediction in curve.predictions:
        what = f"{amount_of(prediction.more)} more hours ({amount_of(last.hours + prediction.more)} h in all)"
        if prediction.refused:
            sentences.append(f"{curve.model}, {what}: not predicted, because {prediction.refused}.")
            continue
        wer = prediction.wer
        sentences.append(
            f"{what} would give {curve.model} about {points(wer.value)} % WER on val [{points(wer.low)}, "
            f"{points(wer.high)}]; at {amount_of(last.hours)} h it is {points(last.mean)} %."
        )
    sentences.append(
        f"{curve.model}: WER is proportional to hours^-{b.value:.2f} [{b.low:.2f}, {b.high:.2f}], from "
        f"{counted(len(curve.sizes), 'size')} of {amount_of(first.hours)} to {amount_of(last.hours)} h."
    )
    return sentences
