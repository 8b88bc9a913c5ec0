"""Which runs are compared: by which option, on which utterances, and which model is the larger."""

import pandas as pd
import pytest

from khasr.study.design import build_design
from khasr.study.groups import label_by, split_by_utterances
from khasr.study.runs import UNKNOWN_MODEL, Runs
from tests.simulated_study import Plan, simulate


def starts() -> Runs:
    """Runs of one model from two checkpoints."""
    runs, _ = simulate(Plan(seeds=2, settings=1, failures=0), "null", 0)
    names = {"small": "/somewhere/starts/read/best.ckpt", "large": "/somewhere/starts/spontaneous/best.ckpt"}
    runs.table["model.checkpoint"] = runs.table["model"].map(names)
    runs.table[["model", "model.name", "parameters"]] = ["small", "small", 1.2e6]
    return runs


def test_by_checkpoint() -> None:
    """Two starts of one shape are compared once it is stated which is compared with which."""
    runs = label_by(starts(), "model.checkpoint")
    a, b = "read/best.ckpt", "spontaneous/best.ckpt"
    assert set(runs.table["model"]) == {a, b}
    with pytest.raises(ValueError, match="have the same number of parameters") as raised:
        build_design(runs)
    assert str(raised.value) == (
        f"{a} and {b} have the same number of parameters, so neither is the larger. Differences are reported as the "
        f"large model's WER minus the small one's. State both: --small NAME --large NAME. There are: {a}, {b}."
    )
    design = build_design(runs, b, a)
    assert design.models == (b, a)
    assert design.confounded == []
    assert [s.name for s in design.settings] == ["optimizer.lr"]


def test_by_mixed_models() -> None:
    """Values of an option that were run with several models cannot be compared."""
    runs, _ = simulate(Plan(seeds=2, settings=1, failures=0), "null", 0)
    with pytest.raises(ValueError, match=r"--by optimizer.lr: the runs with optimizer.lr=0.001 are of 2 models"):
        label_by(runs, "optimizer.lr")
    runs.table["optimizer.name"] = runs.table["model"].map({"small": "adamw", "large": "lion"})
    with pytest.raises(ValueError, match=r"its values were run with different models \(adamw: small; lion: large\)"):
        label_by(runs, "optimizer.name")
    with pytest.raises(ValueError, match=r"--by optimizer.lrr: no run has that option\. Options of these runs: optim"):
        label_by(runs, "optimizer.lrr")


def test_unknown_sizes() -> None:
    """The larger model is asked for, not guessed from the names."""
    runs, _ = simulate(Plan(seeds=2, settings=1, failures=0), "null", 0)
    runs.table["parameters"] = float("nan")
    with pytest.raises(ValueError, match="parameters") as raised:
        build_design(runs)
    assert str(raised.value) == (
        "The number of parameters of large, small is not known, so the larger model is not either. State both: --small "
        "NAME --large NAME. There are: large, small."
    )
    assert build_design(runs, "small", "large").models == ("small", "large")


def test_utterances() -> None:
    """Runs scored on different utterances are separate groups, the largest first, which has the unreadable runs."""
    runs, _ = simulate(Plan(seeds=2, settings=1, failures=0), "null", 0)
    runs.table["data.name"] = ["fleurs_km"] * 3 + ["openslr_km"] * (len(runs.table) - 3)
    runs.table["data.split_seed"] = 42
    runs.table.loc[5, "data.split_seed"] = 42.0
    runs.table.loc[4, ["status", "data.name"]] = ["unreadable", None]
    groups = split_by_utterances(runs)
    assert {name: len(group.table) for name, group in groups.items()} == {"openslr_km": 9, "fleurs_km": 3}
    assert set(groups["fleurs_km"].curves["run"]) == set(groups["fleurs_km"].table["run"])
    assert list(split_by_utterances(groups["fleurs_km"])) == [""]


def test_unnamed_models() -> None:
    """A run without the name of its model is counted, and is not a second model."""
    runs, _ = simulate(Plan(seeds=2, settings=1, failures=0), "null", 0)
    runs = runs.where(runs.table["model"] == "small")
    runs.table.loc[0, "model"] = UNKNOWN_MODEL
    design = build_design(runs)
    assert design.models == ("small",)
    assert design.left_out == ["1 without the name of a model"]
    assert isinstance(design.table, pd.DataFrame)
    assert len(design.table) == len(runs.table) - 1
