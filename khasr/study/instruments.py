"""The instruments of the winners and the losers side by side."""

import math
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from khasr.study.design import Design

# Scores and places, which are no instruments.
_SCORES = ("val/", "test/", "epoch", "train/audio_seconds", "lr_area")


@dataclass(frozen=True)
class Instrument:
    """One metric of training.

    Attributes:
        last: its last value, the median over the runs of (model, "best" or "worst").
        median: the median over a run and then over the runs, likewise.
        runs: that were looked at, likewise.
    """

    name: str
    last: dict[tuple[str, str], float]
    median: dict[tuple[str, str], float]
    runs: dict[tuple[str, str], list[str]]


def read_instruments(design: Design) -> list[Instrument]:
    """Every metric that the runs logged beside the scores, for the best and the worst quarter of each model's runs.

    What the runs logged is what there is: a metric that a newer khasr adds comes by itself.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for model in design.models:
        ordered = list(design.of(model).dropna(subset=["score"]).sort_values(["score", "run"])["run"])
        quarter = max(1, len(ordered) // 4)
        if len(ordered) > 1:
            groups[model, "best"], groups[model, "worst"] = ordered[:quarter], ordered[-quarter:]
    curves = design.runs.curves
    curves = curves[curves["run"].isin([run for runs in groups.values() for run in runs])]
    found = []
    for name, points in curves.sort_values("step").groupby("metric"):
        if str(name).startswith(_SCORES):
            continue
        by_run = points.groupby("run")["value"]
        last, median = by_run.last(), by_run.median()
        found.append(
            Instrument(
                str(name),
                {
                    key: float(np.median(last.reindex(runs).dropna()))
                    for key, runs in groups.items()
                    if last.reindex(runs).notna().any()
                },
                {
                    key: float(np.median(median.reindex(runs).dropna()))
                    for key, runs in groups.items()
                    if median.reindex(runs).notna().any()
                },
                groups,
            )
        )
    return found


def telling(found: list[Instrument], count: int) -> list[Instrument]:
    """Those in which the best and the worst runs end furthest apart, of each family (drift/, train/ ...) in turn.

    Left out are those that are the same in all runs (a frozen part's), and what only the machine decides (time/).
    """
    families: dict[str, list[Instrument]] = {}
    for instrument in sorted(found, key=_apart, reverse=True):
        family = instrument.name.split("/")[0]
        if family != "time" and len({*instrument.last.values(), *instrument.median.values()}) > 1:
            families.setdefault(family, []).append(instrument)
    in_turn = [i for row in zip_longest(*families.values()) for i in row if i is not None]
    return in_turn[:count]


def _apart(instrument: Instrument) -> float:
    """The ratio of the best runs' last value and the worst runs', in logarithms; the larger of both models'."""
    last = instrument.last
    pairs = [(last.get((m, "best"), 0.0), last.get((m, "worst"), 0.0)) for m, _ in last]
    return max((abs(math.log(a / b)) for a, b in pairs if a > 0 and b > 0), default=0.0)
