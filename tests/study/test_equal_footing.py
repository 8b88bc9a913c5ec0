"""Comparisons at an equal lr and at equal budgets."""

import numpy as np

from khasr.study.design import Design, build_design
from khasr.study.equal_footing import along, equal_along_the_run, equal_lr
from tests.simulated_study import Plan, reference, simulate


def design_with(better: float, lengths: dict[str, float]) -> Design:
    """Models of 1.2 and 4.8 million parameters; the large one's WER is lower by that much.

    Args:
        lengths: the greatest number of steps of each model.
    """
    runs, _ = simulate(Plan(noise=0.01, failures=0), "size", 2, strength=0.0)
    large = runs.table["model"] == "large"
    runs.table.loc[large, "wer"] -= better
    runs.curves.loc[runs.curves["run"].str.startswith("large") & (runs.curves["metric"] == "val/wer"), "value"] -= (
        better
    )
    runs.table = runs.table[runs.table["trainer.max_steps"] <= runs.table["model"].map(lengths)].reset_index(drop=True)
    return build_design(runs, reference=reference(runs))


def test_equal_flops() -> None:
    """Only runs planned to end within the budget count, with their last WER.

    The large model has four times the FLOPs per step: its runs of more steps, which are much better, do not count, and
    neither do their WERs on the way.
    """
    found = design_with(0.03, {"small": 4000.0, "large": 4000.0})
    longer = (found.runs.table["model"] == "large") & (found.runs.table["trainer.max_steps"] > 1000)
    found.runs.table.loc[longer, "wer"] = 0.05
    found = build_design(found.runs, reference=reference(found.runs))
    rows = along(found)
    assert rows is not None
    footing = equal_along_the_run(found, "flops", rows)
    assert footing is not None
    assert -0.06 < footing.gap.value < 0


def test_budget_is_what_both_models_reached() -> None:
    found = design_with(0.0, {"small": 1000.0, "large": 4000.0})
    rows = along(found)
    assert rows is not None
    footing = equal_along_the_run(found, "audio", rows)
    assert footing is not None
    assert footing.at == 12_000  # seconds of 1,000 steps
    assert abs(footing.gap.value) < 0.01


def test_equal_lr() -> None:
    """Only at values that both tried: the large model's best, lr 0.01, does not count where the small one lacks it."""
    found = design_with(0.0, {"small": 4000.0, "large": 4000.0})
    table = found.runs.table
    table.loc[(table["model"] == "large") & (table["optimizer.lr"] == 1e-2), "wer"] = 0.05
    found.runs.table = table[(table["model"] == "large") | (table["optimizer.lr"] != 1e-2)].reset_index(drop=True)
    footing = equal_lr(build_design(found.runs, reference=reference(found.runs)))
    assert footing is not None
    assert footing.how.startswith("2 values of lr (0.001, 0.003), ")
    assert np.isfinite(footing.gap.low)
    assert abs(footing.gap.value) < 0.02
