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


@pytest.mark.parametrize(("layout", "seed"), [("one_at_a_time", 0), ("grid", 1), ("random", 2)])
def test_planted_cause(layout: str, seed: int) -> None:
    verdict, planted = verdict_on(Plan(layout), "cause", seed)
    assert verdict.causes == [planted]
    assert any(planted in sentence and "lowers the gap" in sentence for sentence in verdict.words)


def test_planted_size() -> None:
    """A size that is worse whatever is set is a gap without a cause."""
    verdict, _ = verdict_on(Plan(), "size", 0)
    assert verdict.causes == []
    assert "reference" in [claim.key for claim in verdict.shown]
    assert "large is worse by" in verdict.words[0]


def test_no_difference() -> None:
    """Of equal models nothing is claimed, and each question is listed as not shown."""
    for seed in range(3):
        verdict, _ = verdict_on(Plan(settings=3, seeds=2), "null", seed)
        assert [claim.key for claim in verdict.shown] == []
        asked = [c for c in verdict.claims if not c.key.startswith(("learns:", "equal:"))]
        assert len(verdict.not_shown) >= len(asked) == 6
        assert verdict.words == [
            "No setting that was tried is shown to be the cause of a difference between the models."
        ]


def test_single_seeds() -> None:
    """One run of each setting claims no gap: the noise between seeds is not known."""
    runs, _ = simulate(Plan(seeds=1, failures=0), "size", 0)
    verdict = judge(build_design(runs, reference=reference(runs)))
    by_key = {claim.key: claim for claim in verdict.claims}
    assert not by_key["reference"].shown
    assert "noise between seeds is not known" in by_key["reference"].why_not


@pytest.mark.parametrize("seed", [6, 9])
def test_large_model_fails_whatever_is_set(seed: int) -> None:
    """A quarter of its runs: that is claimed, and neither a setting as the cause nor a gap in WER."""
    verdict, _ = verdict_on(Plan(failures=0, failures_large=0.25), "null", seed)
    assert [claim.key for claim in verdict.shown] == ["fails"]
    assert "large fails to learn more often. Did not learn: small: 0 of 33 runs; large: " in verdict.words[0]
    assert verdict.causes == []


def test_no_run_learned_at_the_reference() -> None:
    """That a model's three runs there all failed, which happens by chance, is not a gap in WER."""
    runs, _ = simulate(Plan(settings=2, failures=0), "null", 0)
    runs.table.loc[runs.table.index[runs.table["model"] == "large"][:3], ["status", "wer"]] = ["diverged", np.nan]
    verdict = judge(build_design(runs, reference=reference(runs)))
    assert verdict.shown == []
    claim = next(claim for claim in verdict.claims if claim.key == "reference")
    assert claim.why_not == "no run of large learned at the reference settings"


def test_large_model_fails_at_one_value() -> None:
    """The setting is then a cause."""
    runs, _ = simulate(Plan("grid", failures=0, seeds=1), "null", 2)
    fails = (runs.table["model"] == "large") & (runs.table["optimizer.lr"] == 1e-2)
    runs.table.loc[fails, ["status", "wer"]] = ["diverged", np.nan]
    verdict = judge(build_design(runs, reference=reference(runs)))
    assert verdict.causes == ["optimizer.lr"]
    assert "optimizer.lr affects whether a run learns, differently in each model." in " ".join(verdict.words)


@pytest.mark.parametrize("disjoint", [False, True])
def test_confounded(disjoint: bool) -> None:
    """Options that differ between the models in every run: no size of a gap, and the command that separates them."""
    runs, _ = simulate(Plan(settings=2, failures=0), "size", 0)
    lr, large = runs.table["optimizer.lr"], runs.table["model"] == "large"
    if disjoint:
        runs.table = runs.table[np.where(large, lr == 1e-2, lr != 1e-2)]
        values = "small had optimizer.lr = 0.001 or 0.003; large had optimizer.lr = 0.01"
    else:
        runs.table.loc[:, "optimizer.lr"] = np.where(large, 1e-2, 1e-3)
        values = "small had optimizer.lr = 0.001; large had optimizer.lr = 0.01"
    verdict = judge(build_design(runs))
    assert verdict.claims == []
    assert verdict.words[0] == (
        "These runs cannot show whether large is worse than small: optimizer.lr differs between the models in every run "
        f"({values}). A difference of WER between them may come from the size, from these options, or from both. "
        "No comparison is made."
    )
    assert "python -m khasr.explain small_" in verdict.words[1]


def test_sampled_utterances_are_in_every_gap() -> None:
    """Each interval of a gap widens by the standard error of val's utterances, and p-values rise."""
    runs, _ = simulate(Plan(settings=2, failures=0), "null", 0)
    design = build_design(runs, reference=reference(runs))
    without, within = (judge(design, error**2).claims for error in (0.0, 0.05))
    gaps = 0
    for before, after in zip(without, within, strict=True):
        if before.key.startswith(("reference", "best_of_n", "equal:")):
            gaps += 1
            for end in ("low", "high"):
                reach = [abs(getattr(c.estimate, end) - c.estimate.value) for c in (before, after)]
                assert reach[1] == pytest.approx(np.hypot(reach[0], 1.96 * 0.05), rel=0.2)
            assert after.estimate.p >= before.estimate.p
        elif before.key != "fails":
            assert after.estimate == before.estimate
    assert gaps == 6


def test_unknown_names() -> None:
    """Models, settings and values that no run has are refused with those that there are."""
    runs, _ = simulate(Plan(seeds=1), "null", 0)
    with pytest.raises(ValueError, match=r"No run of a model named 'huge'\. There are: small, large"):
        build_design(runs, large="huge")
    with pytest.raises(ValueError, match="no setting of that name varies here"):
        build_design(runs, reference={"optimizer.lrr": 1})
    with pytest.raises(ValueError, match=r"no run has that value\. Tried: 0\.001, 0\.003, 0\.01"):
        build_design(runs, reference={"optimizer.lr": 5})


def test_runs_scored_on_other_utterances() -> None:
    """They are left out and counted."""
    runs, _ = simulate(Plan(seeds=2), "null", 0)
    runs.table["data.split_seed"] = 42.0
    runs.table.loc[runs.table.index[:3], "data.split_seed"] = 1.0
    design = build_design(runs, reference=reference(runs))
    assert len(design.table) == len(runs.table) - 3
    assert any("3 scored on other utterances" in why for why in design.left_out)


def test_linked_settings() -> None:
    """Options that always change together are one setting."""
    runs, _ = simulate(Plan(seeds=2), "null", 0)
    runs.table["schedule.name"] = np.where(runs.table["schedule.warmup"] == 0.36, "linear", "tri_stage")
    runs.table["schedule.hold"] = np.where(runs.table["schedule.warmup"] == 0.36, None, 0.4)
    names = [s.name for s in build_design(runs).settings]
    assert "schedule.name & schedule.hold" in names


def test_importance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted setting has the largest share in each model, and of the interactions with size."""
    monkeypatch.setattr("khasr.study.importance._REFITS", 1)  # for the intervals, which are not tested here
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
