"""Optuna searches: continued, interrupted, failed."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from khasr.cli.multirun.search import continue_study
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
    assert [t.value for t in study.trials] == [1.0, 1.0]
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
    assert printed.stderr.rstrip().endswith("No trial of the search in sweep has a WER: all failed.")
    assert "best_trial" not in printed.stderr


def test_unfinished_trials(tmp_path: Path) -> None:
    """Unfinished trials are tried again, and enqueued once."""
    from omegaconf import OmegaConf

    options = OmegaConf.create(
        {
            "storage": None,
            "study_name": None,
            "n_trials": 10,
            "n_jobs": 2,
            "max_failure_rate": 0.0,
            "sampler": {"seed": 3},
        }
    )
    first = continue_study(options, tmp_path, sequential=False)
    assert (first.n_trials, first.n_jobs, first.max_failure_rate, first.sampler.seed) == (10, 2, 1.0, 3)
    study = optuna.create_study(study_name="sweep", storage=first.storage)
    values = []
    for value in (0.5, None, "running"):
        trial = study.ask()
        values.append(trial.suggest_float("lr", 0, 1))
        if value != "running":
            study.tell(trial, value, state=optuna.trial.TrialState.FAIL if value is None else None)
    second = continue_study(options, tmp_path, sequential=True)
    assert (second.n_trials, second.n_jobs, second.sampler.seed) == (9, 1, 6)
    for _ in range(2):  # a third start finds them waiting and adds none
        study = optuna.load_study(study_name="sweep", storage=first.storage)
        waiting = [t.system_attrs["fixed_params"]["lr"] for t in study.trials if t.state.name == "WAITING"]
        assert waiting == values[1:]
        continue_study(options, tmp_path, sequential=True)
