"""Optuna searches: continued, interrupted, failed."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from omegaconf import OmegaConf

from khasr.cli.multirun.search import search_options, unfinished_trials
from tests.cli.multirun.conftest import LAUNCHERS, runs


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_continued_search(start: Any, tmp_path: Path, launcher: str) -> None:
    """A second start of a search runs only the missing trials."""
    words = [
        "hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=1", "optimizer.lr=tag(log, interval(0.01, 0.5))",
        *LAUNCHERS[launcher],
    ]  # fmt: skip
    start(*words, "hydra.sweeper.n_trials=3")
    assert len(runs(tmp_path)) == 3
    printed = start(*words, "hydra.sweeper.n_trials=3").stdout  # nothing is missing
    assert sorted(n for _, n in runs(tmp_path).values()) == [1] * 3
    start(*words, "hydra.sweeper.n_trials=5")
    found = runs(tmp_path)
    assert sorted(n for _, n in found.values()) == [1] * 5, printed
    best = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(min(found))


def test_interrupted_trial(start: Any, tmp_path: Path) -> None:
    """A search resumes the trial that its budget stopped; diverged and failed trials differ."""
    words = ["hydra/sweeper=optuna", "optimizer.lr=interval(0.01, 0.5)", "trainer.max_steps=5"]
    start(*words, "hydra.sweeper.n_trials=2", code=142, BUDGET_ENDS_AT="3")
    (stopped,) = runs(tmp_path)
    start(*words, "hydra.sweeper.n_trials=1")
    assert runs(tmp_path) == {stopped: ("completed", 2)}
    start(*words, "hydra.sweeper.n_trials=2", "seed=choice(7)", "hydra.sweeper.study_name=other", code=1)
    study = optuna.load_study(study_name="other", storage=f"sqlite:///{tmp_path}/sweep/optuna.db")
    assert [t.value for t in study.trials] == [math.inf, math.inf]
    start(*words[:2], "hydra.sweeper.n_trials=2", "seed=choice(13)", "hydra.sweeper.study_name=third", code=1)
    study = optuna.load_study(study_name="third", storage=f"sqlite:///{tmp_path}/sweep/optuna.db")
    assert [t.state.name for t in study.trials] == ["FAIL", "FAIL"]


def test_different_options(start: Any) -> None:
    """A search with different options does not continue the study."""
    words = ["hydra/sweeper=optuna", "optimizer.lr=interval(0.01, 0.5)", "hydra.sweeper.n_trials=1"]
    start(*words, "seed=1")
    printed = start(*words, "seed=1", "logger=wandb", "trainer.num_nodes=1").stdout  # do not count as different options
    assert "no trial is missing" in printed
    printed = start(*words, "seed=2", code=2).stderr
    assert "sweep contains a search with different options: seed is 1 there and 2 here" in printed
    printed = start(*words, "model=tiny", code=2).stderr
    assert "seed is 1 there and not fixed here" in printed


def test_all_trials_failed(start: Any) -> None:
    """A search whose trials all failed reports that."""
    printed = start("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "seed=choice(13)", "optimizer.lr=interval(0.1,0.2)",
                 code=1)  # fmt: skip
    assert "2 runs in sweep: 2 failed" in printed.stdout
    assert printed.stderr.rstrip().endswith("No trial of the search in sweep has a WER: all failed or diverged.")
    assert "best_trial" not in printed.stderr


def test_unfinished_trials(tmp_path: Path) -> None:
    """An interrupted trial keeps its number and its reports; a failed one is enqueued once, if its run began."""
    study = optuna.create_study(study_name="sweep", storage=f"sqlite:///{tmp_path}/optuna.db")
    values = []
    for value in (0.5, None, "running", "refused"):
        trial = study.ask()
        values.append(trial.suggest_float("lr", 0, 1))
        if value == "running":
            trial.report(0.9, 10)
        else:
            study.tell(
                trial, value if value == 0.5 else None, state=None if value == 0.5 else optuna.trial.TrialState.FAIL
            )
    for _ in range(2):  # a later start finds them waiting and adds none
        (running,) = unfinished_trials(study, lambda trial: trial.number != 3)
        assert (running.number, running.params["lr"]) == (2, values[2])
        assert running.suggest_float("lr", 0, 1) == values[2]
        waiting = [t.system_attrs["fixed_params"]["lr"] for t in study.trials if t.state.name == "WAITING"]
        assert waiting == [values[1]]
    study.tell(running, 0.4)
    assert study.trials[2].intermediate_values == {10: 0.9}


def test_search_options(tmp_path: Path) -> None:
    """A search in sequence runs one trial at a time; a later start of a seeded search draws other settings."""
    given = {"storage": None, "study_name": None, "n_jobs": 2, "sampler": {"seed": 3}, "direction": "minimize"}
    options = OmegaConf.create(given)
    first = search_options(options, tmp_path, sequential=False)
    assert (first.n_jobs, first.study_name, first.sampler.seed) == (2, "sweep", 3)
    optuna.create_study(study_name="sweep", storage=first.storage).ask()
    second = search_options(options, tmp_path, sequential=True)
    assert (second.n_jobs, second.sampler.seed) == (1, 4)
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.direction=maximize: expected minimize"):
        search_options(OmegaConf.create(given | {"direction": "maximize"}), tmp_path, sequential=True)
