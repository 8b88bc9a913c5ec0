"""Pruning: progress, grace, reports to the study, and the run that is stopped."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from khasr.config import Config, SweepConfig
from khasr.run.folder import RunFolder
from khasr.run.outcome import Outcome, Pruned, read_outcome
from khasr.study.design import build_design
from khasr.study.runs import read_runs
from khasr.training.fit import fit
from khasr.training.pruning import Pruning, build_pruner, grace_percent
from tests.small_runs import Small, read_results


@pytest.mark.parametrize(
    ("options", "steps", "percent"),
    [
        ({}, 1000, 10),
        ({"warmup": 0.25}, 1000, 26),
        ({"warmup": 2000}, 5475, 37),
        ({"frozen": 0.4}, 5475, 41),
        ({"frozen": 0.4, "grace": 0.55}, 5475, 55),
        ({"frozen": 0.4, "grace": 0}, 5475, 0),
    ],
)
def test_grace(small: Small, options: dict[str, float], steps: int, percent: int) -> None:
    """A run is not judged in its warm-up or its frozen steps, unless sweep.grace says so."""
    config = small()
    config.schedule.warmup = options.get("warmup", 0)
    config.finetune.freeze_encoder_steps = options.get("frozen", 0)
    config.sweep.grace = options.get("grace")
    assert grace_percent(config, steps) == percent


def new_study(folder: Path, completed: int = 5) -> SweepConfig:
    """The options of the trial that runs in a study with completed trials, whose WER falls from 0.9 to 0."""
    storage = f"sqlite:///{folder}/optuna.db"
    study = optuna.create_study(study_name="sweep", storage=storage)
    for _ in range(completed):
        values = {percent: 0.9 - percent * 0.009 for percent in (15, 30, 31, 50)}
        study.add_trial(optuna.create_trial(value=0.0, intermediate_values=values))
    trial = study.ask()
    return SweepConfig(pruner="median", trial=trial.number, study="sweep", storage=storage)


def reports(options: SweepConfig) -> dict[int, float]:
    study = optuna.load_study(study_name=options.study, storage=options.storage)
    return study.trials[options.trial or 0].intermediate_values


def test_equal_progress(tmp_path: Path) -> None:
    """Runs of different lengths are compared at equal shares; a WER between validations is interpolated."""
    options = new_study(tmp_path)
    pruning = Pruning(options, None, total_steps=200, grace=10)  # type: ignore[arg-type]
    pruning.open()
    assert not pruning.report(10, 1.0)  # in the grace period
    assert not pruning.report(30, 0.7)  # 15 %: the others have 0.765
    assert reports(options) == pytest.approx({p: 1.0 - 0.03 * (p - 5) for p in range(5, 16)})
    again = Pruning(options, None, total_steps=200, grace=10)  # type: ignore[arg-type]
    again.open()  # resumed from a checkpoint before the report
    assert not again.report(10, 1.0)
    assert not again.report(30, 0.7)
    assert again.report(60, 0.7)  # 30 %: the others have 0.63
    assert len(reports(options)) == 26
    late = Pruning(options, None, total_steps=200, grace=40)  # type: ignore[arg-type]
    late.open()
    assert not late.report(62, 0.9)
    assert not late.report(200, 0.9)  # the run is complete


def test_unreachable_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose study cannot be reached continues."""
    options = new_study(tmp_path)
    pruning = Pruning(options, None, total_steps=200, grace=10)  # type: ignore[arg-type]
    pruning.open()
    (tmp_path / "optuna.db").write_bytes(b"no database")
    assert not pruning.report(60, 1.0)
    assert "The study could not be reached at step 60; the run continues." in capsys.readouterr().err


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_pruners(pruner: str) -> None:
    """Each pruner stops a trial that is worse than all others, and none that is better."""
    study = optuna.create_study(study_name="sweep", pruner=build_pruner(SweepConfig(pruner=pruner)))  # type: ignore[arg-type]
    found = []
    for number in range(12):
        trial = study.ask()
        stopped = False
        for percent in range(10, 101, 10):
            trial.report(1.0 if number == 11 else 0.9 - number / 100, percent)
            stopped |= trial.should_prune()
        found.append(stopped)
        study.tell(trial, 0.5)
    assert found == [False] * 11 + [True]


@pytest.fixture(scope="module")
def pruned(compose: Callable[..., Config], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep with a run that was pruned at its first validation."""
    from tests.conftest import SMALL

    folder = tmp_path_factory.mktemp("pruned")
    options = new_study(folder)
    config = compose(*SMALL, f"data.root='{corpus}'", "schedule.warmup=0")
    config.sweep = options
    with pytest.raises(
        Pruned, match=r"Pruned by sweep\.pruner=median at step 3 \(50% of the run\): the best WER on val"
    ):
        fit(config, RunFolder(folder / "run"))
    return folder


def test_pruned_run(pruned: Path) -> None:
    """A pruned run has its best WER so far, and no checkpoints; its study is not in its options."""
    results = read_results(pruned / "run")
    assert (results["status"], results["pruned"]["step"], results["pruned"]["share"]) == ("pruned", 3, 0.5)
    assert read_outcome(pruned / "run") == Outcome("pruned", results["pruned"]["wer"], 0)
    assert not list((pruned / "run" / "checkpoints").iterdir())
    assert "optuna.db" not in (pruned / "run" / "config.yaml").read_text()
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{pruned}/optuna.db")
    assert study.trials[5].intermediate_values == {50: results["pruned"]["wer"]}
    config = RunFolder(pruned / "run").read_config()
    config.resume = str(pruned / "run")
    with pytest.raises(
        FileNotFoundError, match=r"the run is pruned, and its last\.ckpt, which only resuming needs, was"
    ):
        fit(config, RunFolder(pruned / "run"))
    assert read_results(pruned / "run") == results  # nothing is lost


def test_report_of_pruned_run(pruned: Path) -> None:
    """The report counts a pruned run as a trial with its best WER."""
    runs = read_runs([pruned])
    (row,) = runs.table.to_dict("records")
    assert (row["status"], row["wer"]) == ("pruned", read_results(pruned / "run")["pruned"]["wer"])
    design = build_design(runs)
    assert "1 pruned by their search: judged by the best validation before they were stopped" in design.left_out
    assert design.table["score"].notna().all()
