"""Comparisons of the two models at equal lr, audio, area under the lr and FLOPs."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from khasr.data.audio import FRAMES_PER_SECOND
from khasr.study.design import Design, common_support
from khasr.study.statistics import (
    Array,
    Estimate,
    Noise,
    Trials,
    best_of_n_difference,
    expected_best,
    fair_trials,
    seed_noise,
    t_estimate,
)
from khasr.study.wording import say

LR = "optimizer.lr"


FEWEST_TRIALS = 4


LENGTH = ("trainer.max_steps", "trainer.max_epochs")
"""Options that set how long a run is; at an equal budget they may differ between the models."""


AXES = {
    "audio": "seconds of audio in training",
    "lr_area": "area under the lr",
    "flops": "FLOPs of training",
}
"""Budgets: audio with repetition; the sum of the lr over optimizer steps; 6 x parameters x frames of that audio."""


@dataclass(frozen=True)
class Footing:
    """The gap, large minus small, at an equal footing.

    Attributes:
        at: the amount of the budget; nan for lr.
        how: what was compared.
        small: the small model's expected best WER there; `large` likewise.
    """

    name: str
    at: float
    how: str
    small: float
    large: float
    gap: Estimate


def noises(design: Design) -> dict[str, Noise]:
    """The noise between seeds, for each model."""
    return {model: seed_noise(_cells(rows[rows["learned"]], "wer")) for model, rows in _by_model(design).items()}


def gap(design: Design, small: Array, large: Array, utterances: float = 0.0) -> Estimate:
    """The mean of the large model's runs minus that of the small one's, with its interval from the noise between seeds.

    Args:
        utterances: squared error from the utterances being a sample, where it is known.
    """
    noise = noises(design)
    value = float(np.mean(large) - np.mean(small))
    parts, dfs = [], []
    for model, scores in ((design.small, small), (design.large, large)):
        if not noise[model].df:
            return Estimate(value)
        parts.append(noise[model].squared_error(scores))
        dfs.append(float(noise[model].df))
    return t_estimate(value, [*parts, utterances], [*dfs, 1e6])


def equal_lr(design: Design, seed: int = 0, utterances: float = 0.0) -> Footing | None:
    """The gap at each lr that both models tried, at the best of equally many trials, averaged over these lr."""
    by_model, _ = compared_trials(design, seed=seed)
    if any(LR not in rows for rows in by_model):
        return None
    both = sorted(set(by_model[0][LR].dropna()) & set(by_model[1][LR].dropna()))
    if not both:
        return None
    parts = [
        (*(rows["score"].to_numpy(float) for rows in at), *(list(rows["cell"]) for rows in at))
        for at in ([rows[rows[LR] == lr] for rows in by_model] for lr in both)
    ]
    trials, estimate = best_of_n_difference(parts, np.random.default_rng(seed), utterances=utterances)
    values = ", ".join(say(float(v)) for v in both)
    words = f"{len(both)} values of lr ({values}), best of {trials} trial{'s' * (trials > 1)}"
    return Footing("lr", math.nan, words, *_means(parts, estimate))


def equal_along_the_run(
    design: Design, axis: str, rows: pd.DataFrame, seed: int = 0, utterances: float = 0.0
) -> Footing | None:
    """The gap within a budget: the largest amount of the axis that both models reached.

    Only runs that ended within the budget count, because a longer run has not reached the end of its schedule there.
    Each model counts with its best of equally many trials. None where a model has too few.

    Args:
        rows: from `along`.
    """
    at = min(float(of_model[axis].max()) for _, of_model in rows.groupby("model"))
    used = rows.groupby("run")[axis].max()
    within = set(used[used <= at * 1.001].index)
    both, _ = compared_trials(design, LENGTH, within, seed)
    if min(map(len, both)) < FEWEST_TRIALS:
        return None
    part = (*(r["score"].to_numpy(float) for r in both), *(list(r["cell"]) for r in both))
    trials, estimate = best_of_n_difference([part], np.random.default_rng(seed), utterances=utterances)
    return Footing(axis, at, f"best of {trials} trial{'s' * (trials > 1)}", *_means([part], estimate))


def along(design: Design) -> pd.DataFrame | None:
    """run, model, cell, step, wer and each of AXES at each validation of each run; None where the metrics lack them."""
    about = design.table[design.table["status"] != "interrupted"].set_index("run")
    wanted = design.runs.curves[design.runs.curves["metric"].isin(["val/wer", "train/audio_seconds", "lr_area"])]
    curves = {
        key: (rows["step"].to_numpy(float), rows["value"].to_numpy(float))
        for key, rows in wanted.sort_values("step").groupby(["run", "metric"])
    }
    found = []
    for run, model, cell, parameters in zip(
        about.index, about["model"], about["cell"], about["parameters"], strict=True
    ):
        if any((run, metric) not in curves for metric in ("val/wer", "train/audio_seconds", "lr_area")):
            continue
        steps, wers = curves[run, "val/wer"]
        audio, area = (np.interp(steps, *_from_zero(*curves[run, m])) for m in ("train/audio_seconds", "lr_area"))
        for values in zip(steps, wers, audio, area, strict=True):
            found.append((run, model, cell, *values, values[2] * 6 * parameters * FRAMES_PER_SECOND))
    rows: pd.DataFrame = pd.DataFrame(
        found, columns=["run", "model", "cell", "step", "wer", "audio", "lr_area", "flops"]
    ).dropna()
    return rows if rows["model"].nunique() == 2 else None


def _from_zero(steps: Array, values: Array) -> tuple[Array, Array]:
    return np.concatenate([[0.0], steps]), np.concatenate([[0.0], values])


def _means(parts: list[Trials], estimate: Estimate) -> tuple[float, float, Estimate]:
    """The small model's expected best, the large one's, and the gap."""
    small = float(np.mean([expected_best(s)[fair_trials(s, m) - 1] for s, m, _, _ in parts]))
    return small, small + estimate.value, estimate


def compared_trials(
    design: Design, ignored: tuple[str, ...] = (), runs: set[str] | None = None, seed: int = 0
) -> tuple[list[pd.DataFrame], str]:
    """Each model's runs that learned, at values that both models tried; and the values that one model lacks, as text.

    Args:
        ignored: options that may differ between the models.
        runs: the runs to choose from; all without it.
    """
    rows = [design.of(model) for model in design.models]
    rows = [r[r["learned"] & (True if runs is None else r["run"].isin(runs))] for r in rows]
    return common_support(design, rows, ignored, seed)


def _trials(design: Design) -> list[pd.DataFrame]:
    """Each model's trials: the runs with a score that were not interrupted."""
    rows = [design.of(model) for model in design.models]
    return [r[r["score"].notna() & (r["status"] != "interrupted")] for r in rows]


def best_cells(design: Design) -> list[tuple[str, Array] | None]:
    """The combination of settings with the lowest mean WER of each model, with the WERs of its runs."""
    return [_best_cell(rows, "score") for rows in _trials(design)]


def cell_scores(design: Design, model: str, cell: str) -> Array:
    """The WERs of a model's runs of one combination of settings, 1.0 for a run that did not learn."""
    rows = design.of(model)
    rows = rows[(rows["cell"] == cell) & (rows["status"] != "interrupted") & rows["score"].notna()]
    return np.asarray(rows["score"], dtype=float)


def _by_model(design: Design) -> dict[str, pd.DataFrame]:
    return {model: design.of(model) for model in design.models}


def _cells(rows: pd.DataFrame, column: str) -> list[Array]:
    return [group[column].dropna().to_numpy(float) for _, group in rows.groupby("cell")]


def _best_cell(rows: pd.DataFrame, column: str) -> tuple[str, Array] | None:
    """The cell with the lowest mean; if some cells have several seeds, cells with a single run do not count."""
    cells = {str(cell): group[column].dropna().to_numpy(float) for cell, group in rows.groupby("cell")}
    cells = {cell: scores for cell, scores in cells.items() if len(scores)}
    if not cells:
        return None
    most = max(len(scores) for scores in cells.values())
    enough = {cell: scores for cell, scores in cells.items() if len(scores) >= min(2, most)}
    cell = min(enough, key=lambda c: enough[c].mean())
    return cell, enough[cell]
