"""The effect of each setting on each model, and whether it affects the models differently."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from khasr.study.design import UNFINISHED, Design, Setting
from khasr.study.statistics import LEVEL, Array, Estimate, Fit, interaction_p, learning_p, least_squares

Value = tuple[Any, ...]


@dataclass(frozen=True)
class Effect:
    """A setting's main effect on a model: the WER at a value minus the WER at the reference, other settings equal."""

    model: str
    setting: str
    value: Value
    runs: int
    estimate: Estimate


@dataclass(frozen=True)
class Interaction:
    """Whether a setting affects the models differently.

    Attributes:
        p: of the same effect on both models, on the log WER of runs that learned.
        p_learning: of the same effect on both models, on whether a run learns.
        best: the best value of each model by its main effect; None if a model has no run at the reference that learned.
        change: of the gap (large minus small), in WER, when each model moves from the reference to its best value.
    """

    setting: Setting
    p: float
    p_learning: float
    best: tuple[Value, Value] | None
    change: Estimate


def main_effects(design: Design) -> list[Effect]:
    """The main effects of all settings, by least squares over a model's runs that learned, with t intervals."""
    found = []
    for model in design.models:
        fitted = _fit(design, model)
        for setting in design.settings:
            rows = _learned(design, model)
            counts = Counter(setting.of(rows))
            for value in setting.values:
                if value in counts and value != design.reference[setting.name] and fitted is not None:
                    estimate = fitted.effect(setting, value)
                    if estimate is not None:
                        found.append(Effect(model, setting.name, value, counts[value], _interval(*estimate)))
    return found


def interactions(design: Design, seed: int = 0) -> list[Interaction]:
    """The interaction of each setting with the model's size."""
    rng = np.random.default_rng(seed)
    ended = design.table[~design.table["status"].isin(UNFINISHED)]
    learned = ended[ended["learned"]]
    found = []
    for setting in design.settings:
        p = _p(design, learned, np.log(np.maximum(learned["wer"].to_numpy(float), 1e-4)), setting, rng)
        unlearned = len(ended) - len(learned)
        p_learning = math.nan
        if min(unlearned, len(learned)) >= 3:
            large = (ended["model"] == design.large).to_numpy(float)
            values = np.array([setting.values.index(v) for v in setting.of(ended)])
            p_learning = learning_p(ended["learned"].to_numpy(float), large, values, rng)
        best, change = _change(design, setting)
        found.append(Interaction(setting, p, p_learning, best, change))
    return found


# ----------------------------------------------------------------------------------------------------------- the fits


@dataclass(frozen=True)
class _Fitted:
    """A model's scores as a sum of its settings' effects."""

    fit: Fit
    places: dict[str, tuple[int, int]]
    levels: dict[str, list[Value]]
    reference: dict[str, Value]

    def effect(self, setting: Setting, value: Value) -> tuple[float, float, int] | None:
        """The score at the value minus that at the reference, its squared error and degrees of freedom."""
        levels = self.levels[setting.name]
        start = self.reference[setting.name]
        if value not in levels or (start not in levels and not setting.numeric):
            return None
        first, last = self.places[setting.name]
        at = _encode(setting, [value, start], levels)
        contrast = np.zeros(len(self.fit.coefficients))
        contrast[first:last] = at[0] - at[1]
        return *self.fit.estimate(contrast), self.fit.df


def _fit(design: Design, model: str) -> _Fitted | None:
    rows = _learned(design, model)
    if len(rows) < 2:
        return None
    blocks, places, levels = [np.ones((len(rows), 1))], {}, {}
    width = 1
    for setting in design.settings:
        values = setting.of(rows)
        levels[setting.name] = [v for v in setting.values if v in set(values)]
        block = _encode(setting, values, levels[setting.name])
        places[setting.name] = (width, width + block.shape[1])
        width += block.shape[1]
        blocks.append(block)
    fit = least_squares(np.hstack(blocks), rows["wer"].to_numpy(float))
    return _Fitted(fit, places, levels, design.reference)


def _encode(setting: Setting, values: list[Value], levels: list[Value]) -> Array:
    """Columns for the values, given the levels of which the model has runs."""
    if _as_curve(setting, levels):
        # Scaled by the levels, so that a value has the same columns in each call; 0 is placed below the lowest.
        floor = min((v[0] for v in levels if v[0] > 0), default=1.0) / 2
        base, logs = (np.log(np.maximum([v[0] for v in some], floor)) for some in (levels, values))
        scaled = (logs - base.mean()) / max(float(base.std()), 1e-9)
        return np.stack([scaled, scaled**2], axis=1)
    return np.array([[float(v == level) for level in levels[1:]] for v in values]).reshape(len(values), -1)


def _as_curve(setting: Setting, levels: list[Value]) -> bool:
    """Whether a setting is fitted as a curve in the logarithm, having many values; few are levels with own effects."""
    return setting.numeric and len(levels) > 5


def _learned(design: Design, model: str) -> pd.DataFrame:
    rows = design.of(model)
    return rows[rows["learned"]]


def _interval(value: float, squared_error: float, df: int, level: float = LEVEL) -> Estimate:
    if df < 1 or not squared_error >= 0:
        return Estimate(value)
    reach = float(stats.t.ppf((1 + level) / 2, df)) * math.sqrt(squared_error)
    return Estimate(value, value - reach, value + reach)


# --------------------------------------------------------------------------------------------------- the interactions


def _p(design: Design, rows: pd.DataFrame, scores: Array, setting: Setting, rng: np.random.Generator) -> float:
    """p of the setting having the same effect on both models.

    The common part is a column for each combination of settings if enough degrees of freedom remain, so that an
    interaction between settings cannot be taken for one with size; else the sum of the settings' effects.
    """
    large = (rows["model"] == design.large).to_numpy(float)[:, None]
    if len(rows) < 6 or not 0 < large.mean() < 1:
        return math.nan
    blocks = {}
    for other in design.settings:
        values = other.of(rows)
        blocks[other.name] = _encode(other, values, [v for v in other.values if v in set(values)])
    others = [large * blocks[s.name] for s in design.settings if s is not setting]
    tested = large * blocks[setting.name]
    cells = pd.get_dummies(rows["cell"]).to_numpy(float)
    sums = np.hstack(list(blocks.values()))
    for common, also in ((cells, others), (sums, others), (sums, [])):
        together = [common, large, *also, tested]
        left = len(rows) - int(np.linalg.matrix_rank(np.hstack([np.ones_like(large), *together])))
        if left >= max(6, len(rows) // 4):
            return interaction_p(scores, common, np.hstack([large, *also]), tested, rng)
    return math.nan


def _change(design: Design, setting: Setting) -> tuple[tuple[Value, Value] | None, Estimate]:
    """Each model's best value, and the change of the gap when each model moves there from the reference."""
    gains, best = [], []
    for model in design.models:
        fitted = _fit(design, model)
        effects = {}
        if fitted is not None:
            effects = {v: e for v in fitted.levels[setting.name] if (e := fitted.effect(setting, v)) is not None}
        if not effects:
            return None, Estimate(math.nan)
        lowest = min(effects, key=lambda v: effects[v][0])
        best.append(lowest)
        gains.append(effects[lowest])
    (small, small_error, small_df), (large, large_error, large_df) = gains
    value, error = large - small, small_error + large_error
    # The best of several values was selected: as many comparisons as there are values beside the reference.
    level = 1 - (1 - LEVEL) / max(1, len(setting.values) - 1)
    parts = [(e, d) for e, d in ((small_error, small_df), (large_error, large_df)) if e > 0]
    if not parts or any(d < 1 for _, d in parts):
        return (best[0], best[1]), Estimate(value)
    df = error**2 / sum(e**2 / d for e, d in parts)
    return (best[0], best[1]), _interval(value, error, max(1, math.floor(df)), level)
