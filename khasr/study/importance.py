"""The share of the variance between runs that each setting explains (functional ANOVA)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from khasr.study.design import Design, Setting

_TREES, _SAMPLE, _REFITS, _MOST_VALUES = 48, 256, 12, 7


_FEWEST_RUNS = 8


SIZE = "size"
"""The name of the model as a setting, where runs of both models are analysed together."""


@dataclass(frozen=True)
class Importance:
    """A share of the variance of the WER.

    Attributes:
        setting: its name, or "size", or "size × NAME" for what both explain together beyond each alone.
        low: lowest share over refits on resampled runs; `high` likewise.
    """

    setting: str
    share: float
    low: float
    high: float


def importances(design: Design, model: str | None, seed: int = 0) -> list[Importance]:
    """The shares of the settings, largest first: for one model's runs, or for both with the model as a setting.

    Functional ANOVA of a random forest (Hutter, Hoos, Leyton-Brown 2014), over all combinations of the values tried,
    with equal weights. Only runs that learned are fitted, because a diverged one would outweigh the rest. Optuna's
    FanovaImportanceEvaluator gives single settings only, and pairs of size with each setting are needed. Empty with
    fewer than 8 runs, or if nothing varies.
    """
    table = design.table if model is None else design.of(model)
    table = table[table["learned"]]
    settings = [s for s in design.settings if len(set(s.of(table))) > 1]
    if len(table) < _FEWEST_RUNS or not settings:
        return []
    columns = [_codes(s, table) for s in settings]
    names = [s.name for s in settings]
    if model is None:
        columns.insert(0, (table["model"] == design.large).to_numpy(float))
        names.insert(0, SIZE)
    features, scores = np.stack(columns, axis=1), table["wer"].to_numpy(float)
    rng = np.random.default_rng(seed)
    shares = _shares(features, scores, names, model is None, rng)
    refits = []
    for _ in range(_REFITS):
        rows = rng.integers(0, len(scores), len(scores))
        refits.append(_shares(features[rows], scores[rows], names, model is None, rng))
    found = [
        Importance(name, share, *(float(f([r.get(name, 0.0) for r in refits])) for f in (np.min, np.max)))
        for name, share in shares.items()
    ]
    return sorted(found, key=lambda i: -i.share)


def _codes(setting: Setting, table: pd.DataFrame) -> NDArray[np.float64]:
    return np.array([setting.values.index(value) for value in setting.of(table)], dtype=float)


def _shares(
    features: NDArray[np.float64], scores: NDArray[np.float64], names: list[str], pairs: bool, rng: np.random.Generator
) -> dict[str, float]:
    forest = RandomForestRegressor(_TREES, random_state=int(rng.integers(2**31)), min_samples_leaf=1, max_features=0.7)
    forest.fit(features, scores)
    tried = [_spread(np.unique(column)) for column in features.T]
    sample = np.stack([rng.choice(values, _SAMPLE) for values in tried], axis=1)

    def combined(fixed: list[int]) -> NDArray[np.float64]:
        """The sample with each combination of values of the fixed settings."""
        grid = np.stack(np.meshgrid(*(tried[i] for i in fixed), indexing="ij"), axis=-1).reshape(-1, len(fixed))
        many = np.repeat(sample[None], len(grid), axis=0)
        many[:, :, fixed] = grid[:, None, :]
        return np.asarray(many.reshape(-1, sample.shape[1]))

    all_fixed = [[i] for i in range(len(names))]
    if pairs:
        all_fixed += [[0, i] for i in range(1, len(names))]
    rows = [sample, *map(combined, all_fixed)]
    # In one call, because what a call does for each tree takes longer than the rows.
    predicted = np.split(forest.predict(np.concatenate(rows)), np.cumsum([len(each) for each in rows])[:-1])
    total = float(predicted[0].var())
    if total < 1e-12:
        return dict.fromkeys(names, 0.0)
    # The means over all other settings, for each combination of values of the fixed ones.
    means = [
        values.reshape(*(len(tried[i]) for i in fixed), _SAMPLE).mean(axis=-1)
        for fixed, values in zip(all_fixed, predicted[1:], strict=True)
    ]
    shares = {name: float(values.var()) / total for name, values in zip(names, means, strict=False)}
    for (_, i), both in zip(all_fixed[len(names) :], means[len(names) :], strict=True):
        alone = means[0][:, None] + means[i][None, :]
        shares[f"{names[0]} × {names[i]}"] = float((both - alone).var()) / total
    return {name: min(1.0, share) for name, share in shares.items()}


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values, or an evenly spaced selection from the lowest to the highest if there are many."""
    if len(values) <= _MOST_VALUES:
        return values
    return np.asarray(values[np.linspace(0, len(values) - 1, _MOST_VALUES).round().astype(int)])
