"""Optuna searches: continued, interrupted, failed."""

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl
from omegaconf import OmegaConf

from khasr.cli.multirun.search import Search, search_options, unfinished_trials
from khasr.cli.multirun.sweep import Sweep, SweepEnded, folder_name
from khasr.run.outcome import DIVERGED_WER, Outcome
from tests.cli.multirun.conftest import LAUNCHERS, ROOT, runs


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


class Runs:
    """A launcher whose runs end as a function of their options says; it keeps the words of each run."""

    def __init__(self, sweep: Sweep, outcome: Callable[[dict[str, str]], Outcome]) -> None:
        self.sweep, self.outcome, self.words = sweep, outcome, []  # type: ignore[var-annotated]

    def name(self, overrides: Sequence[str]) -> str:
        return folder_name(overrides, [])

    def outcomes(self, jobs: Sequence[Sequence[str]], first: int) -> list[Outcome]:
        found = []
        for words in jobs:
            self.words.append(list(words))
            outcome = self.outcome(dict(word.split("=", 1) for word in words))
            if outcome.code != 2:
                folder = self.sweep.folder / self.name(words)
                folder.mkdir(exist_ok=True)
                scores = {"wer": outcome.wer, "cer": 0.5}
                results = {"status": outcome.status, "val": scores, "pruned": scores}
                (folder / "results.json").write_text(json.dumps(results))
            self.sweep.add(self.name(words), words, outcome, before=False)
            found.append(outcome)
        return found


def search(
    folder: Path, outcome: Callable[[dict[str, str]], Outcome], *words: str, trials: int, sampler: Any = None,
    pruned: bool = False, space: str | None = None,
) -> tuple[optuna.Study, list[list[str]], Sweep]:  # fmt: skip
    """Starts or continues a search in this process; returns its study, the words of its new runs, and the sweep."""
    storage = f"sqlite:///{folder}/optuna.db"
    sampler = sampler or optuna.samplers.TPESampler(seed=1)
    sweeper = OptunaSweeperImpl(sampler, "minimize", storage, "sweep", trials, 1, 1.0, space, None)
    sweep = Sweep(folder)
    sweeper.launcher, sweeper.config = Runs(sweep, outcome), OmegaConf.create({})  # type: ignore[assignment]
    Search(sweeper, sweep, pruned).sweep(list(words))
    return optuna.load_study(study_name="sweep", storage=storage), sweeper.launcher.words, sweep  # type: ignore[attr-defined]


def test_pruned_trial(tmp_path: Path) -> None:
    """A pruned trial counts as a trial, with its reports and its best WER; a later start does not repeat it."""

    def outcome(options: dict[str, str]) -> Outcome:
        if options["sweep.trial"] != "1":
            return Outcome("completed", 0.5, 0)
        study = optuna.load_study(
            study_name=options["sweep.study"].strip("'"), storage=options["sweep.storage"].strip("'")
        )
        optuna.Trial(study, study.trials[1]._trial_id).report(0.9, 20)
        return Outcome("pruned", 0.8, 0)

    study, words, _ = search(tmp_path, outcome, "lr=interval(0.1,0.2)", trials=3, pruned=True)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert study.trials[1].intermediate_values == {20: 0.9}
    study, words, sweep = search(tmp_path, outcome, "lr=interval(0.1,0.2)", trials=3, pruned=True)
    assert words == []
    printed = sweep.describe()
    assert "3 runs" in printed
    assert "2 completed, 1 pruned; 3 of them had finished before" in printed
    assert sweep.code == 0


def test_diverged_trials(tmp_path: Path) -> None:
    """A diverged trial is worse than any real one, so that the search avoids its settings."""

    def outcome(options: dict[str, str]) -> Outcome:
        lr = float(options["lr"])
        return Outcome("diverged", DIVERGED_WER, 1) if lr > 0.5 else Outcome("completed", 1.9 + abs(lr - 0.2), 0)

    study, _, sweep = search(tmp_path, outcome, "lr=interval(0.0,1.0)", trials=30)
    assert study.best_value < 2
    assert "Lowest WER on val: 19" in sweep.describe()
    proposed = [t.params["lr"] for t in study.trials[10:]]
    assert sum(lr > 0.5 for lr in proposed) <= 6


def test_refused_combination(tmp_path: Path) -> None:
    """A combination that cannot be composed is a failed trial; the search continues, and a later start tries others."""

    def outcome(options: dict[str, str]) -> Outcome:
        return Outcome("failed", None, 2) if options["lr"] == "3" else Outcome("completed", 0.5, 0)

    grid = functools.partial(optuna.samplers.GridSampler)
    study, words, sweep = search(tmp_path, outcome, "lr=1,2,3", "seed=1", trials=20, sampler=grid)
    assert sorted(t.state.name for t in study.trials) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert sweep.code == 2
    study, words, sweep = search(tmp_path, outcome, "lr=1,2,3", "seed=1", trials=20, sampler=grid)
    assert (len(study.trials), words) == (3, [])  # a grid that is started again adds nothing
    assert "2 completed, 1 failed" in sweep.describe()
    with pytest.raises(
        ValueError, match=r"a search over other values of lr: 1,2,3 there and 1,2 here\. Optuna continues"
    ):
        search(tmp_path, outcome, "lr=1,2", "seed=1", trials=20, sampler=grid)
    with pytest.raises(ValueError, match="lists of values"):
        search(tmp_path, outcome, "lr=interval(0.1,0.2)", trials=20, sampler=grid)


def test_interrupted_search(tmp_path: Path) -> None:
    """An interrupted trial is continued under its number; the summary covers all starts and names the best of all."""
    stops = iter([False, True, False, False])

    def outcome(options: dict[str, str]) -> Outcome:
        return Outcome("interrupted", None, 130) if next(stops) else Outcome("completed", float(options["lr"]), 0)

    with pytest.raises(SweepEnded):
        search(tmp_path, outcome, "lr=interval(0.1,0.2)", trials=3)
    sampler = optuna.samplers.RandomSampler(seed=2)
    study, words, sweep = search(tmp_path, outcome, "lr=interval(0.1,0.2)", trials=3, sampler=sampler)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3
    assert len(words) == 2
    assert words[0] == [f"lr={study.trials[1].params['lr']}"]
    best = min(study.trials, key=lambda t: t.value or 1)
    name = folder_name([f"lr={best.params['lr']}"], [])
    assert sweep.describe().splitlines()[-2] == f"Lowest WER on val: {best.value:.2%}, {name}"
    assert len(sweep.outcomes) == 3


def test_conditional_space(start: Any, tmp_path: Path) -> None:
    """The example of docs/sweeps.md: a setting that only some choices have, and a combination without it refused."""
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "space.py").write_text(code)
    words = ["hydra/sweeper=optuna", "finetune=full,lora"]
    random = ["hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=3", "hydra.sweeper.n_trials=4"]
    start(*words, *random, "hydra.sweeper.custom_search_space=space.rank_of_lora")
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path}/sweep/optuna.db")
    assert {t.params["finetune"]: "finetune.rank" in t.params for t in study.trials} == {"full": False, "lora": True}
    grid = ["hydra/sweeper/sampler=grid", "finetune.rank=8,16", "hydra.sweep.dir=refused"]
    printed = start(*words, *grid, code=2)
    assert "finetune.rank" in printed.stderr
    assert "4 runs in refused: 2 failed, 2 completed" in printed.stdout
    assert "Launching" not in start(*words, *grid, code=2).stdout  # a grid that is started again adds nothing


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
