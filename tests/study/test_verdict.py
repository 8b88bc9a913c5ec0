"""The verdict on simulated studies whose truth is known; experiments/planted_truths counts many more."""

import numpy as np
import pytest

from khasr.study.design import build_design
from khasr.study.importance import SIZE, importances
from khasr.study.verdict import Verdict, judge
from tests.simulated_study import Plan, reference, simulate


def verdict_on(plan: object, truth: str, seed: int) -> tuple[Verdict, str]:
    runs, planted = simulate(plan, truth, seed)
    return judge(build_design(runs, reference=reference(runs)), seed=seed), planted


@pytest.mark.parametrize(("layout", "seed"), [("one_at_a_time", 0), ("one_at_a_time", 3), ("grid", 1), ("random", 2)])
def test_the_planted_cause_is_found_and_no_other(layout: str, seed: int) -> None:
    verdict, planted = verdict_on(Plan(layout), "cause", seed)
    assert verdict.causes == [planted]
    assert any(planted in sentence and "lowers the gap" in sentence for sentence in verdict.words)


def test_a_worse_size_is_a_gap_without_a_cause() -> None:
    verdict, _ = verdict_on(Plan(), "size", 0)
    assert verdict.causes == []
    assert "reference" in [claim.key for claim in verdict.shown]
    assert "large is worse by" in verdict.words[0]


def test_without_a_difference_little_is_claimed() -> None:
    shown = [bool(verdict_on(Plan(seeds=2), "null", seed)[0].shown) for seed in range(6)]
    assert sum(shown) <= 1


def test_what_is_not_shown_is_said() -> None:
    verdict, _ = verdict_on(Plan(seeds=2), "null", 0)
    assert len(verdict.not_shown) >= len([c for c in verdict.claims if not c.key.startswith("learns:")])
    assert "No setting that was tried is shown to be the cause" in " ".join(verdict.words)


def test_one_seed_a_setting_claims_no_gap() -> None:
    runs, _ = simulate(Plan(seeds=1, failures=0), "size", 0)
    verdict = judge(build_design(runs, reference=reference(runs)))
    by_key = {claim.key: claim for claim in verdict.claims}
    assert not by_key["reference"].shown
    assert "noise between seeds is not known" in by_key["reference"].why_not


def test_diverged_runs_count_as_trials_and_leave_effects_alone() -> None:
    runs, _ = simulate(Plan(failures=0.3), "null", 1)
    design = build_design(runs, reference=reference(runs))
    diverged = design.table["status"] == "diverged"
    assert diverged.sum() > 5
    assert (design.table.loc[diverged, "score"] == 1.0).all()
    assert not design.table.loc[diverged, "learned"].any()


def test_a_setting_at_which_the_large_model_alone_fails_is_a_cause() -> None:
    runs, _ = simulate(Plan("grid", failures=0, seeds=1), "null", 2)
    fails = (runs.table["model"] == "large") & (runs.table["optimizer.lr"] == 1e-2)
    runs.table.loc[fails, ["status", "wer"]] = ["diverged", np.nan]
    verdict = judge(build_design(runs, reference=reference(runs)))
    assert verdict.causes == ["optimizer.lr"]
    assert "decides whether a run learns" in " ".join(verdict.words)


def test_models_and_settings_that_are_not_there_are_refused() -> None:
    runs, _ = simulate(Plan(seeds=1), "null", 0)
    with pytest.raises(ValueError, match=r"No run of a model named 'huge'\. There are: small, large"):
        build_design(runs, large="huge")
    with pytest.raises(ValueError, match="no setting of that name varies here"):
        build_design(runs, reference={"optimizer.lrr": 1})
    with pytest.raises(ValueError, match=r"no run has that value\. Tried: 0\.001, 0\.003, 0\.01"):
        build_design(runs, reference={"optimizer.lr": 5})
    runs.table["model"] = "small"
    with pytest.raises(ValueError, match="Runs of one model alone"):
        build_design(runs)


def test_runs_scored_on_other_utterances_are_left_out_and_counted() -> None:
    runs, _ = simulate(Plan(seeds=2), "null", 0)
    runs.table["data.split_seed"] = 42.0
    runs.table.loc[runs.table.index[:3], "data.split_seed"] = 1.0
    design = build_design(runs, reference=reference(runs))
    assert len(design.table) == len(runs.table) - 3
    assert any("3 scored on other utterances" in why for why in design.left_out)


def test_settings_that_change_together_are_one() -> None:
    runs, _ = simulate(Plan(seeds=2), "null", 0)
    runs.table["schedule.name"] = np.where(runs.table["schedule.warmup"] == 0.36, "linear", "tri_stage")
    runs.table["schedule.hold"] = np.where(runs.table["schedule.warmup"] == 0.36, None, 0.4)
    names = [s.name for s in build_design(runs).settings]
    assert "schedule.name & schedule.hold" in names


def test_importance_of_what_matters_and_of_its_interaction_with_size() -> None:
    runs, planted = simulate(Plan("grid", noise=0.01, failures=0), "cause", 0)
    design = build_design(runs, reference=reference(runs))
    both = {i.setting: i for i in importances(design, None)}
    assert max((i for n, i in both.items() if n.startswith(f"{SIZE} ×")), key=lambda i: i.share).setting.endswith(
        planted
    )
    assert both[f"{SIZE} × {planted}"].share > 0.3
    for model in design.models:
        alone = importances(design, model)
        assert alone[0].setting == planted
        assert sum(i.share for i in alone) == pytest.approx(
            1, abs=0.1
        )  # the simulated log WER has no other interaction
