"""Small training runs for tests: stopped, resumed, read and compared."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from khasr.config import Config
from khasr.run.folder import RunFolder
from khasr.training.module import CtcModule

Small = Callable[..., Config]
# Options with which batches are random and steps have several batches.
RANDOM = [
    "model.mask_time_prob=0.3", "model.mask_time_length=2", "model.mask_feature_prob=0.2", "model.mask_feature_length=4",
    "model.hidden_dropout=0.1", "model.layerdrop=0.2", "data.augment.noise_snr_db=[5,20]",
    "trainer.accumulate_grad_batches=2", "trainer.max_steps=12", "trainer.val_every_steps=5",
]  # fmt: skip


def read_results(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(RunFolder(folder).results.read_text(encoding="utf-8"))
    return results


def read_rows(folder: Path) -> list[dict[str, str]]:
    with RunFolder(folder).metrics.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stop_after(monkeypatch: pytest.MonkeyPatch, batches: int, signum: int, during_validation: bool = False) -> None:
    """Sends this process a signal while a batch is trained on, or while the validation after it runs."""
    hook = "on_validation_epoch_end" if during_validation else "training_step"
    original = getattr(CtcModule, hook)
    seen = {"batches": 0}
    step = CtcModule.training_step

    def counted(self: CtcModule, batch: Any, batch_idx: int) -> torch.Tensor:
        seen["batches"] = batch_idx + 1
        return step(self, batch, batch_idx)

    def sending(self: CtcModule, *arguments: Any) -> Any:
        result = original(self, *arguments)
        if not during_validation:
            seen["batches"] = arguments[1] + 1
        if seen["batches"] == batches:
            os.kill(os.getpid(), signum)
        return result

    monkeypatch.setattr(CtcModule, "training_step", counted)
    monkeypatch.setattr(CtcModule, hook, sending)


def resumed(small: Small, folder: Path) -> Config:
    config = small(*RANDOM)
    config.resume = str(folder)
    return config


def same(ours: Any, theirs: Any, path: str = "") -> None:
    """Asserts bitwise equality, except of times."""
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), path
    elif isinstance(ours, dict):
        assert set(ours) == set(theirs), path
        for key in ours:
            if "seconds" not in str(key) or str(key) == "audio_seconds":
                same(ours[key], theirs[key], f"{path}/{key}")
    elif isinstance(ours, list | tuple):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            same(a, b, f"{path}/{i}")
    else:
        assert ours == theirs, path


def tensors(nested: Any) -> list[torch.Tensor]:
    if isinstance(nested, torch.Tensor):
        return [nested]
    inner = nested.values() if isinstance(nested, dict) else nested if isinstance(nested, list) else []
    return [tensor for value in inner for tensor in tensors(value)]
