"""The opening of a report: headline, holes, edges, failures, what could be detected, and the scope."""

import math

import numpy as np
import pytest

from khasr.study.design import Design, build_design
from khasr.study.overview import (
    Outcomes,
    detectable_sentence,
    edges,
    failure_sentences,
    outcomes,
    scope_sentence,
    summarise,
    tried_values,
)
from khasr.study.runs import Runs
from khasr.study.verdict import judge
from tests.simulated_study import Plan, reference, simulate


def crossed(truth: str = "cause", seed: int = 0) -> Design:
    runs, _ = simulate(Plan(seeds=3, settings=2, failures=0), truth, seed)
    return build_design(runs, reference=reference(runs))


def one_model(seeds: int = 3) -> Runs:
    runs, _ = simulate(Plan(seeds=seeds, settings=1, failures=0), "null", 0)
    return runs.where(runs.table["model"] == "small")


def test_comparison_headline() -> None:
    """One sentence with the gap and the cause, and nothing claimed where nothing differs."""
    design = crossed("size")
    found = summarise(design, judge(design))
    gap = judge(design).claims[0].estimate.value
    assert found.headline == (
        f"large is worse than small by {100 * gap:.1f} points at the reference settings, and no setting was shown to "
        "affect the two differently."
    )
    design = crossed("null")
    assert summarise(design, judge(design)).headline == (
        "No difference in WER between large and small was shown, and no setting was shown to affect the two differently."
    )
    runs, planted = simulate(Plan(), "cause", 0)
    design = build_design(runs, reference=reference(runs))
    assert summarise(design, judge(design)).headline.endswith(f"{planted} affects the two differently.")


def test_one_model_headline() -> None:
    runs = one_model()
    table = runs.table
    table["wer"] = table["optimizer.lr"].map({1e-3: 0.4, 3e-3: 0.3, 1e-2: 0.5})
    design = build_design(runs)
    found = summarise(design, judge(design))
    assert found.headline == "The lowest mean WER of small on val is 30.0 % with optimizer.lr = 0.003 (3 runs)."
    assert found.sentences == []
    table["wer"] = 1.0
    design = build_design(runs)
    assert summarise(design, judge(design)).headline == (
        "No setting of small learned: the lowest mean WER on val is 100.0 %."
    )


def test_holes() -> None:
    """A value that a model did not try is in the table with no runs; a search is shown as ranges of values."""
    runs, _ = simulate(Plan(seeds=2, settings=1, failures=0), "null", 0)
    runs = runs.where((runs.table["model"] == "small") | (runs.table["optimizer.lr"] < 5e-3))
    found = {tried.value: tried.runs for tried in tried_values(build_design(runs))}
    assert found == {"0.001": (2, 2), "0.003": (2, 2), "0.01": (2, 0)}
    alone = one_model(seeds=10)
    alone.table["optimizer.lr"] = np.linspace(1e-3, 1e-2, len(alone.table))
    ranges = tried_values(build_design(alone))
    assert sum(tried.runs[0] for tried in ranges) == len(alone.table) == 30
    assert ranges[0].value == "0.001 to 0.00224138 (5 values)"


@pytest.mark.parametrize(("best", "end"), [(1e-3, "lowest"), (3e-3, ""), (1e-2, "highest")])
def test_edges(best: float, end: str) -> None:
    """The best value is reported if nothing was tried beyond it; 0 is the end of every option."""
    runs = one_model()
    runs.table["wer"] = np.where(runs.table["optimizer.lr"] == best, 0.3, 0.4)
    (edge,) = edges(build_design(runs))
    assert (edge.option, edge.best, edge.end, edge.count) == ("optimizer.lr", best, end, 3)
    runs.table["optimizer.lr"] -= runs.table["optimizer.lr"].min()
    (edge,) = edges(build_design(runs))
    assert edge.end == ("highest" if end == "highest" else "")


def test_outcomes() -> None:
    """Each run is counted once, by how it ended."""
    runs = one_model()
    table = runs.table
    table.loc[0, ["status", "wer"]] = ["diverged", math.nan]
    table.loc[1, ["status", "wer"]] = ["diverged", 0.5]
    table.loc[2, "status"] = "failed"
    table.loc[3, "status"] = "interrupted"
    table.loc[4, "wer"] = 0.99
    design = build_design(runs)
    assert outcomes(design) == [Outcomes("small", 9, 4, 1, 1, 1, 1, 1, 0)]
    assert failure_sentences(design) == [
        "small: of 9 runs, 1 diverged before learning, 1 diverged after learning, 1 ended with a WER of 95 % or more, "
        "1 failed (an error or a lost machine) and 1 interrupted."
    ]
    assert failure_sentences(build_design(one_model())) == []


def test_detectable() -> None:
    """Smaller with more seeds, larger with sampled utterances, unknown without repeated seeds."""

    def least(text: str) -> float:
        return float(text.split(" points")[0].rsplit(" ", 1)[1])

    small, large = (build_design(simulate(Plan(seeds=n, settings=1, failures=0), "null", 0)[0]) for n in (2, 12))
    assert least(detectable_sentence(small)) > 1.5 * least(detectable_sentence(large))
    assert least(detectable_sentence(large, 0.05**2)) > 2.79 * 5
    assert "a gap of" in detectable_sentence(large)
    assert "between two settings, with 3 runs each" in detectable_sentence(build_design(one_model()))
    assert "unknown, because no setting of small has two runs" in detectable_sentence(build_design(one_model(seeds=1)))


def test_detectable_is_detected() -> None:
    """A true gap of that size is detected in about 80 % of studies."""
    design = build_design(simulate(Plan(seeds=4, settings=1, failures=0), "null", 0)[0])
    text = detectable_sentence(design)
    gap = float(text.split(" points")[0].rsplit(" ", 1)[1]) / 100
    level = design.table[design.table["cell"] == design.reference_cell]["wer"].mean()
    rng = np.random.default_rng(0)
    sd = 0.04 * level
    small, large = rng.normal(0, sd, (2000, 12)), rng.normal(gap, sd, (2000, 12))
    pooled = np.sqrt((small.var(axis=1, ddof=1) + large.var(axis=1, ddof=1)) / 4)
    differences = large[:, :4].mean(axis=1) - small[:, :4].mean(axis=1)
    assert 0.6 < (np.abs(differences) > 2.1 * pooled).mean() < 0.98


def test_scope() -> None:
    runs = one_model()
    assert scope_sentence(build_design(runs)).startswith(
        "Scope: an unknown number of val utterances, unknown speakers, 3 seeds."
    )
    runs.table["val_utterances"] = 120.0
    runs.table["model.checkpoint"] = "start.ckpt"
    assert scope_sentence(build_design(runs)) == (
        "Scope: 120 val utterances, unknown speakers, one starting checkpoint, 3 seeds. Other utterances, speakers or "
        "checkpoints may give other results."
    )
