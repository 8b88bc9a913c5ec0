import csv
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from khasr.config import Config
from khasr.data.datamodule import CorpusDataModule
from khasr.optim.schedules import lr_scale
from khasr.run.folder import RunFolder
from khasr.training.fit import fit
from khasr.training.instruments import Instruments
from khasr.training.module import CtcModule
from khasr.training.window import Window

Small = Callable[..., Config]


def read_rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_columns_of_a_run(small: Small, tmp_path: Path) -> None:
    config = small("trainer.log_every_steps=1", "trainer.max_steps=6", "data.augment.speed=[]")
    results = fit(config, RunFolder(tmp_path))
    rows = [row for row in read_rows(tmp_path) if "train/loss" in row]
    assert len(rows) == 6
    scale = lr_scale(config.schedule, 6)
    area = 0.0
    data = CorpusDataModule(config.data, config.seed)
    data.prepare(progress=False)
    lengths = data.parts["train"].lengths
    for row, batch in zip(rows, data.training_order().epoch(0), strict=False):
        area += config.optimizer.lr * scale(int(row["step"]) - 1)
        assert row["train/lr_area"] == pytest.approx(area)
        seconds = [lengths[i] / 16_000 for i in batch]
        assert row["train/audio_seconds_per_update"] == pytest.approx(sum(seconds))
        assert row["train/padding_share"] == pytest.approx(1 - sum(seconds) / (len(seconds) * max(seconds)), abs=1e-6)
        assert row["train/skipped_share"] == 0.0
        assert 0 <= row["train/blank_share"] <= 1
        assert sum(row[f"time/{stage}"] for stage in ("data", "forward", "backward", "optimizer")) == pytest.approx(1)
        by_part = [norm for key, norm in row.items() if key.startswith("grad_norm/")]
        assert math.sqrt(sum(norm**2 for norm in by_part)) == pytest.approx(row["train/grad_norm"], rel=1e-5)
        assert {key.split("/")[1] for key in row if key.startswith("update_ratio/")} == {
            "feature_encoder", "input", "layer_00", "layer_01", "norm", "head"
        }  # fmt: skip
    # The first step of a warm-up has an lr of 0; later steps change the weights.
    assert rows[0]["update_ratio/head"] == 0.0 < rows[1]["update_ratio/head"]
    train = results["train"]
    assert train["lr_area"] == pytest.approx(area)
    assert (train["skipped_share"], train["left_blank_at_step"]) == (0.0, 0)
    assert sum(train["time"].values()) == pytest.approx(1)


def test_drift_of_a_run(small: Small, tmp_path: Path) -> None:
    fit(small(), RunFolder(tmp_path))
    drifts = [row for row in read_rows(tmp_path) if "drift/head" in row]
    assert [row["step"] for row in drifts] == [3, 6]
    last = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    start = torch.load(tmp_path / "checkpoints/start.ckpt", weights_only=True)
    now, then = (
        torch.cat([s[f"{p}head.{n}"].flatten() for n in ("weight", "bias")]) for s, p in ((last, "model."), (start, ""))
    )
    assert drifts[-1]["drift/head"] == pytest.approx(((now - then).norm() / then.norm()).item(), rel=1e-5)


def test_skipped_steps() -> None:
    instruments, window = Instruments(10, None), Window(["head"])  # type: ignore[arg-type]
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.5, "layer_scale": 0.5}])
    trainer: Any = SimpleNamespace(global_step=0)
    for norm in (2.0, math.inf, 4.0, math.nan, 6.0):
        instruments.on_before_optimizer_step(trainer, None, optimizer)  # type: ignore[arg-type]
        window.add_step(1.0, torch.tensor([norm, norm / 2]))
    assert instruments.lr_area == 5.0  # until the row it is not known which steps were skipped
    row = instruments.row(10, window.read())
    assert row["train/skipped_share"] == instruments.totals()["skipped_share"] == 0.4
    assert row["grad_norm/head"] == 2.0
    assert instruments.lr_area == 3.0


def test_left_blank_at_step() -> None:
    instruments = Instruments(1, None)  # type: ignore[arg-type]
    seen = []
    for step, share in enumerate([0.1, 0.995, 1.0, 0.98, 1.0, 0.9, 0.8], start=1):
        row = instruments.row(step, Window([]).read() | {"blank_frames": 1000 * share, "frames": 1000.0})
        assert row["train/blank_share"] == share
        seen.append(instruments.left_blank_at_step)
    assert seen == [0, None, None, 4, None, 6, 6]


def test_nonfinite_gradient_norm(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = CtcModule.training_step

    def overflowing(self: CtcModule, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = step(self, batch, batch_idx)
        return loss * float("inf") if batch_idx == 1 else loss

    monkeypatch.setattr(CtcModule, "training_step", overflowing)
    fit(small("trainer.log_every_steps=2", "trainer.max_steps=2", "trainer.val_every_steps=2"), RunFolder(tmp_path))
    (row,) = (row for row in read_rows(tmp_path) if "train/loss" in row)
    assert 0 < row["train/grad_norm"] < math.inf
    assert 0 < row["grad_norm/head"] < row["train/grad_norm"]
