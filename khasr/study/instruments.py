"""The training metrics (instruments) of the best and the worst runs."""

import math
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from khasr.study.design import Design

# Scores and positions in the run, which are not instruments.
_SCORES = ("val/", "test/", "epoch", "train/audio_seconds", "lr_area")


@dataclass(frozen=True)
class Instrument:
    """One metric of training.

    Attributes:
        last: its last value, the median over the runs, by (model, "best" or "worst").
        median: the median over each run and then over the runs, likewise.
        runs: the names of these runs, likewise.
    """

    name: str
    last: dict[tuple[str, str], float]
    median: dict[tuple[str, str], float]
    runs: dict[tuple[str, str], list[str]]


def read_instruments(design: Design) -> list[Instrument]:
    """Every logged metric except scores, for the best and the worst quarter of each model's runs."""
    groups: dict[tuple[str, str], list[str]] = {}
    for model in design.models:
        rows = design.of(model)
        rows = rows[rows["score"].notna() & (rows["status"] != "interrupted")]
        ordered = list(rows.sort_values(["score", "run"])["run"])
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
    """The instruments with the largest ratio of best to worst runs, from each family (drift/, train/ ...) in turn.

    Those that are equal in all runs (of a frozen part) and those of the machine (time/) are left out.
    """
    families: dict[str, list[Instrument]] = {}
    for instrument in sorted(found, key=_apart, reverse=True):
        family = instrument.name.split("/")[0]
        if family != "time" and len({*instrument.last.values(), *instrument.median.values()}) > 1:
            families.setdefault(family, []).append(instrument)
    in_turn = [i for row in zip_longest(*families.values()) for i in row if i is not None]
    return in_turn[:count]


def _apart(instrument: Instrument) -> float:
    """The log ratio of the last values of best and worst runs; the larger of the two models."""
    last = instrument.last
    pairs = [(last.get((m, "best"), 0.0), last.get((m, "worst"), 0.0)) for m, _ in last]
    return max((abs(math.log(a / b)) for a, b in pairs if a > 0 and b > 0), default=0.0)
