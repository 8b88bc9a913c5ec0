from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from khasr.config import Config
from khasr.optim.averaging import WeightAverage, average_weights
from khasr.run.folder import RunFolder
from khasr.training.checkpoints import Checkpoints
from khasr.training.fit import fit
from khasr.training.module import CtcModule
from tests.small_runs import read_results

Small = Callable[..., Config]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
    return state


def test_decay() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    average = WeightAverage({"w": parameter}, 0.9)
    parameter.data.fill_(1.0)
    average.update(1000)
    assert average.weights["w"].tolist() == pytest.approx([0.1, 0.1])
    average.update(1)  # 2 / 11 of it is kept
    assert average.weights["w"].tolist() == pytest.approx([1 - 0.9 * 2 / 11] * 2)


def test_swap_in_and_out() -> None:
    parameter = nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    average = WeightAverage({"w": parameter}, 0.999)
    for _ in range(100):  # steps too small for a bfloat16 average to move
        parameter.data.fill_(1.0)
        average.update(10**6)
    average.swap_in()
    assert parameter.dtype == torch.bfloat16
    assert parameter[0].item() == pytest.approx(1 - 0.999**100, rel=0.01)
    average.swap_out()
    assert parameter.tolist() == [1.0] * 3


def test_average_weights_dtypes() -> None:
    states = [{"a": torch.tensor([float(i)]), "b": torch.tensor([2.0 * i], dtype=torch.bfloat16)} for i in range(4)]
    mean = average_weights(states)  # type: ignore[arg-type]
    assert (mean["a"].item(), mean["b"].item(), mean["b"].dtype) == (1.5, 3.0, torch.bfloat16)
    assert states[0]["a"].item() == 0.0


def test_average_is_validated_and_saved(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(small("trainer.max_steps=1", "optimizer.lr=0"), RunFolder(tmp_path / "start"))
    validated: dict[str, torch.Tensor] = {}
    step = CtcModule.validation_step

    def looking(self: CtcModule, batch: Any, batch_idx: int) -> None:
        validated["head"] = self.model.head.weight.detach().clone()
        step(self, batch, batch_idx)

    monkeypatch.setattr(CtcModule, "validation_step", looking)
    changes = ["optimizer.ema_decay=0.99", "trainer.max_steps=1", "schedule.warmup=0"]
    fit(small(*changes), RunFolder(tmp_path / "run"))
    start, last, best = (
        weights(tmp_path / "start", "last"),
        weights(tmp_path / "run", "last"),
        weights(tmp_path / "run", "best"),
    )
    for name, weight in best.items():
        torch.testing.assert_close(weight, start[name] + (last[name] - start[name]) * 9 / 11)
    assert not torch.equal(best["model.head.weight"], last["model.head.weight"])
    assert torch.equal(validated["head"], best["model.head.weight"])


def test_average_checkpoints(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Validation is patched so that steps 2 and 3 are the best of four.
    wers = iter([0.9, 0.5, 0.6, 0.8])
    end = CtcModule.on_validation_epoch_end

    def scored(self: CtcModule) -> None:
        end(self)
        self.validation["wer"] = next(wers)

    monkeypatch.setattr(CtcModule, "on_validation_epoch_end", scored)
    changes = ["optimizer.average_checkpoints=2", "trainer.max_steps=4", "trainer.val_every_steps=1"]
    fit(small(*changes), RunFolder(tmp_path))
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "start.ckpt",
        "kept_2.ckpt",
        "kept_3.ckpt",
    }
    out = capsys.readouterr().out
    assert "mean of the weights of steps 2, 3: WER" in out
    # The WER of the average is about 1, so best.ckpt remains the single best step.
    assert "best.ckpt is the single step" in out
    assert torch.equal(weights(tmp_path, "best")["model.head.weight"], weights(tmp_path, "kept_2")["model.head.weight"])


def test_better_average_is_saved(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = CtcModule.on_validation_epoch_end

    def scored(self: CtcModule) -> None:
        end(self)
        self.validation["wer"] = 50.0 + self.global_step

    monkeypatch.setattr(CtcModule, "on_validation_epoch_end", scored)
    fit(
        small("optimizer.average_checkpoints=3", "trainer.max_steps=4", "trainer.val_every_steps=1"),
        RunFolder(tmp_path),
    )
    kept = [weights(tmp_path, f"kept_{step}") for step in (1, 2, 3)]
    for name, weight in weights(tmp_path, "best").items():
        torch.testing.assert_close(weight, sum(k[name] for k in kept) / 3)
    assert read_results(tmp_path)["status"] == "completed"


def test_kept_weights_exist_at_any_time(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    keep = Checkpoints._keep_weights

    def looking(self: Checkpoints, trainer: Any, found: list[float]) -> list[int]:
        dropped = keep(self, trainer, found)
        if (tmp_path / "checkpoints/last.ckpt").is_file():
            # A run killed here would resume from the last.ckpt of the previous validation.
            saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["callbacks"]["Checkpoints"]
            looks.append([(tmp_path / f"checkpoints/kept_{int(row[-1])}.ckpt").is_file() for row in saved["kept"]])
        return dropped

    monkeypatch.setattr(Checkpoints, "_keep_weights", looking)
    monkeypatch.setattr(Checkpoints, "state_key", "Checkpoints")
    changes = ["optimizer.average_checkpoints=2", "trainer.max_steps=5", "trainer.val_every_steps=1"]
    fit(small(*changes), RunFolder(tmp_path))
    assert looks == [[True], [True, True], [True, True], [True, True]]
    assert len(list((tmp_path / "checkpoints").glob("kept_*"))) == 2
