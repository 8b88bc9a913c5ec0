"""`early_terminate` of a wandb sweep file as a pruner."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from khasr.cli.multirun.early_terminate import pruner_words
from khasr.cli.multirun.wandb_file import read_sweep
from tests.cli.multirun.conftest import ROOT

SHARE = ["-m", "trainer.val_every_steps=0.05", "trainer.max_steps=100,300"]


@pytest.mark.parametrize(
    ("options", "words", "expected"),
    [
        (None, SHARE, []),
        ({"min_iter": 9, "eta": 2}, SHARE, ["sweep.reduction_factor=2", "sweep.grace=0.45"]),
        ({"min_iter": 3}, SHARE, ["sweep.reduction_factor=3", "sweep.grace=0.15"]),
        ({"max_iter": 18, "s": 2, "eta": 3}, SHARE, ["sweep.reduction_factor=3", "sweep.grace=0.1"]),
        ({"min_iter": 20}, SHARE, []),  # of 20 validations
        (
            {"min_iter": 4},
            ["experiment=quickstart", "trainer.max_steps=4000", "trainer.val_every_steps=100"],
            ["sweep.reduction_factor=3", "sweep.grace=0.1"],
        ),
    ],
)
def test_words(options: dict[str, int] | None, words: list[str], expected: list[str]) -> None:
    """Validations become shares of the run; without a decision before the end of the runs there is no pruner."""
    sweep: dict[str, Any] = {} if options is None else {"early_terminate": {"type": "hyperband"} | options}
    asha = ["sweep.pruner=asha"] if expected else []
    assert pruner_words(Path("a.yaml"), sweep, words) == asha + expected


def test_unknown_share(capsys: pytest.CaptureFixture[str]) -> None:
    """If runs have different numbers of validations, the first decision is at khasr's own share."""
    sweep = {"early_terminate": {"type": "hyperband", "min_iter": 3}}
    words = ["trainer.max_steps=100,300", "model=tiny"]
    assert pruner_words(Path("a.yaml"), sweep, words) == ["sweep.pruner=asha", "sweep.reduction_factor=3"]
    assert "a.yaml: early_terminate counts validations, and the number of validations in a run is not known" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "options", ["median", {"type": "envelope"}, {"type": "hyperband"}, {"type": "hyperband", "min_iter": 3, "eta": 1.5}]
)
def test_not_hyperband(options: Any) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"a.yaml: early_terminate is {options}. Expected {{type: hyperband")
    ):
        pruner_words(Path("a.yaml"), {"early_terminate": options}, SHARE)


def test_pruned_grid(tmp_path: Path) -> None:
    """A grid with early_terminate is a search over the same combinations; a given pruner replaces the file's."""
    file = tmp_path / "grid.yaml"
    file.write_text(
        "{method: grid, early_terminate: {type: hyperband, min_iter: 2}, parameters: {model: {value: tiny}, "
        "trainer.val_every_steps: {value: 0.1}, optimizer.lr: {values: [0.1, 0.2, 0.3]}, seed: {values: [1, 2]}}}"
    )
    words = read_sweep(file, [])
    searched = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=6", "sweep.pruner=asha"]
    assert [word for word in words if word in searched] == searched
    assert "sweep.grace=0.2" in words
    assert "hydra/sweeper=optuna" not in read_sweep(file, ["sweep.pruner=none"])


def test_grace_covers_frozen_steps() -> None:
    """In the sweep files that stop runs early, no decision falls into a frozen phase or a warm-up."""
    for file in sorted((ROOT / "sweeps").glob("*.yaml")):
        sweep = yaml.safe_load(file.read_text(encoding="utf-8"))
        if "early_terminate" in sweep:
            grace = next(float(w.partition("=")[2]) for w in read_sweep(file, []) if w.startswith("sweep.grace="))
            phases = [sweep["parameters"][key] for key in ("finetune.freeze_encoder_steps", "schedule.warmup")]
            assert grace > max(max(p.get("values") or [p["max"]]) for p in phases)
