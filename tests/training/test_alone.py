"""Runs on one device within jobs of Slurm that have several tasks."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.utilities import rank_zero_only

from khasr.run.folder import RunFolder
from khasr.training.alone import cluster_environment, is_alone
from khasr.training.fit import fit

IN_STEP = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2"},
        IN_STEP,
    ],
    ids=["tasks per node", "one of several tasks"],
)
def test_fit(
    small: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """The run ignores the tasks of its job: Lightning neither refuses it nor takes it for a further process."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", int(variables.get("SLURM_PROCID", "0")))
    results = fit(small("trainer.max_steps=1", "trainer.val_every_steps=1"), RunFolder(tmp_path))
    assert results["status"] == "completed"
    assert (tmp_path / "results.json").is_file()


def test_hint(small: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning does not suggest srun where Slurm is installed."""
    import pytorch_lightning as pl

    srun = tmp_path / "srun"
    srun.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                   plugins=cluster_environment(small().trainer))  # fmt: skip
    assert not [str(w.message) for w in caught if "srun" in str(w.message)]


def test_torchrun(small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of torchrun is one of several."""
    options = small("trainer.devices=1").trainer
    assert is_alone(options)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert not is_alone(options)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert not is_alone(small("trainer.devices=2").trainer)
