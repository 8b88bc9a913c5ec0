"""Which runs are compared: outcomes, and values that both models tried."""

import math

import numpy as np
import pytest

from khasr.study.design import Design, build_design, common_support
from tests.simulated_study import Plan, reference, simulate


def test_outcomes() -> None:
    """A diverged run is judged by its best checkpoint, a failed one is missing; both are counted in the notes."""
    runs, _ = simulate(Plan(settings=1, failures=0), "null", 0)
    runs.table.loc[:4, "status"] = ["completed", "diverged", "diverged", "failed", "interrupted"]
    runs.table.loc[:4, "wer"] = [0.97, 0.4, np.nan, 0.5, 0.6]
    design = build_design(runs, reference=reference(runs))
    scores = design.table["score"].head(4).to_list()
    assert scores[:3] == [1.0, 0.4, 1.0]
    assert math.isnan(scores[3])
    assert design.table["learned"].head(5).to_list() == [False, True, False, False, False]
    assert design.left_out == [
        "1 interrupted: shown in the curves, in no comparison",
        "1 failed (an error or a lost machine, not divergence): missing, in no comparison",
        "1 diverged after learning, judged by the best checkpoint (small_001)",
    ]


@pytest.fixture
def design() -> Design:
    """The large model has a third of the runs, and was not run at lr 0.003."""
    runs, _ = simulate(Plan(settings=2, seeds=6, seeds_large=2, failures=0), "null", 0)
    kept = (runs.table["model"] == "small") | (runs.table["optimizer.lr"] != 3e-3)
    runs.table = runs.table[kept].reset_index(drop=True)
    return build_design(runs, reference=reference(runs))


def test_common_support(design: Design) -> None:
    """Equally many runs of each combination of settings that both models tried; what one lacks is named."""
    rows, lacking = common_support(design, [design.of(m) for m in design.models])
    assert lacking == "large was not run at optimizer.lr = 0.003"
    small, large = (r["cell"].value_counts().to_dict() for r in rows)
    assert small == large == {"reference": 2, "lr=0.01": 2, "schedule.warmup=0.1": 2, "schedule.warmup=0.03": 2}
    again, _ = common_support(design, [design.of(m) for m in design.models], seed=1)
    assert set(again[0]["run"]) != set(rows[0]["run"])


def test_common_support_of_a_range(design: Design) -> None:
    """Values of a search are compared where the ranges overlap."""
    runs = design.runs
    runs.table["optimizer.lr"] = np.linspace(1e-4, 1e-2, len(runs.table))  # the large model's runs come last
    runs.table.loc[runs.table["model"] == "large", "optimizer.lr"] -= 4e-3
    rows, _ = common_support(found := build_design(runs), [found.of(m) for m in found.models])
    low, high = rows[1]["optimizer.lr"].min(), rows[0]["optimizer.lr"].max()
    assert all(r["optimizer.lr"].between(low, high).all() for r in rows)
    assert 0 < len(rows[0]) < len(found.of("small"))
