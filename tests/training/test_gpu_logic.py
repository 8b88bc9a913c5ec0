"""What only happens on GPUs or on several machines, with stubs for them."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.trainer.connectors import accelerator_connector
from torch import nn

from khasr.cli.run import _tracebacks_wanted
from khasr.config import Config, OptimizerConfig, TrainerConfig
from khasr.optim.parameters import build_optimizer, skip_unless
from khasr.run.folder import RunFolder
from khasr.run.results import device_name, uses_gpu
from khasr.training import devices as devices_module
from khasr.training import fit as fit_module
from khasr.training.devices import why_no_gpu
from khasr.training.fit import fit
from khasr.training.instruments import Instruments
from khasr.training.shared_folder import SharedFolder
from khasr.training.stage_times import StageTimes
from tests.small_runs import read_results, read_rows

Small = Callable[..., Config]


def test_fp16_with_a_huge_scale(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients overflow until the scale is low enough: these steps are skipped and counted, later ones are not."""

    def on_a_cpu(precision: Any, device: Any) -> MixedPrecision:
        return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**36))

    monkeypatch.setattr(accelerator_connector, "MixedPrecision", on_a_cpu)
    monkeypatch.setattr(fit_module, "check_devices", lambda config: 1)
    changes = ["precision=fp16", "trainer.max_steps=26", "trainer.log_every_steps=1", "trainer.val_every_steps=26"]
    fit(small(*changes, "schedule.warmup=0", "score_test=false"), RunFolder(tmp_path))
    rows = [row for row in read_rows(tmp_path) if row["train/loss"]]
    skipped = [float(row["train/skipped_share"]) for row in rows]
    assert skipped[0] == 1.0
    assert skipped[-1] == 0.0
    assert set(skipped) == {0.0, 1.0}
    for row, skip in zip(rows, skipped, strict=True):
        assert (float(row["update_ratio/head"]) == 0.0) == bool(skip)
        assert math.isfinite(float(row["train/loss"]))
    assert read_results(tmp_path)["train"]["skipped_share"] == pytest.approx(sum(skipped) / 26)


@pytest.mark.parametrize("name", ["adamw", "adam", "adafactor"])
def test_step_without_a_finite_gradient(name: str) -> None:
    """Changes neither weights nor states, so that the next step is that of a run without it."""
    weights = []
    for gradients in ([1.0, math.nan, 2.0], [1.0, 2.0]):
        model = nn.Linear(3, 2)
        nn.init.ones_(model.weight)
        nn.init.ones_(model.bias)
        optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.1, weight_decay=0.1), model)  # type: ignore[arg-type]
        for gradient in gradients:
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, gradient)
            skip_unless(torch.tensor(math.isfinite(gradient)), optimizer)
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    assert weights[0].isfinite().all()
    assert (weights[0] != 1).all()


def test_times_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages are timed by events, and only reading waits for the GPU."""
    clock, waits = iter(range(0, 10_000, 1000)), []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            self.milliseconds = next(clock)

        def record(self) -> None: ...
        def elapsed_time(self, end: "Event") -> float:
            return float(end.milliseconds - self.milliseconds)

        def synchronize(self) -> None:
            waits.append(self.milliseconds)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    times = StageTimes()
    times.start(True)
    for stage in ("data", "forward", "forward"):
        times.end(stage)
    times.start(True)  # after a validation, which is not counted
    times.end("backward")
    assert not waits
    assert times.read() == {"data": 1.0, "forward": 2.0, "backward": 1.0, "optimizer": 0.0}
    assert waits == [5000]
    times.end("optimizer")
    assert times.read() == {"data": 0.0, "forward": 0.0, "backward": 0.0, "optimizer": 1.0}


def test_cpu_run_on_a_gpu_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    names = [device_name(uses_gpu(TrainerConfig(accelerator=kind))) for kind in ("auto", "gpu", "cpu")]  # type: ignore[arg-type]
    assert names[:2] == ["a GPU", "a GPU"]
    assert names[2].endswith(" threads")


def test_old_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver and the CUDA version of torch are named; nothing without a driver or with hidden GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(devices_module, "_DRIVER", tmp_path / "version")
    assert why_no_gpu() == ""
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n")
    expected = f"NVIDIA's driver 535.183.01; torch {torch.__version__} is built for CUDA 13.0. If the driver is older"
    assert expected in why_no_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert why_no_gpu() == ""


def test_folder_that_is_not_shared(tmp_path: Path) -> None:
    """Every process compares what it sees with the first one."""
    folder = RunFolder(tmp_path)
    folder.results.write_text("{}", encoding="utf-8")

    def trainer(first: Any) -> Any:
        strategy = SimpleNamespace(broadcast=lambda own: first)
        return SimpleNamespace(world_size=2, is_global_zero=False, strategy=strategy)

    check = SharedFolder(folder, resumes=True)
    check.setup(trainer(check._seen()), None, "fit")  # type: ignore[arg-type]
    other = SharedFolder(RunFolder(tmp_path / "other"), resumes=True)
    for first in (SharedFolder(folder, resumes=False)._seen(), other._seen()):
        with pytest.raises(ValueError, match=r"do not all see the same .*hydra.run.dir=DIR"):
            check.setup(trainer(first), None, "fit")  # type: ignore[arg-type]


def test_drift_on_the_first_rank_only() -> None:
    """It reads the whole checkpoint, and other ranks log nothing."""
    start: Any = SimpleNamespace(drift=lambda model: {"drift/head": 0.1})
    module: Any = SimpleNamespace(model=None)
    first, second = (SimpleNamespace(strategy=None, is_global_zero=zero) for zero in (True, False))
    assert Instruments(10, start).drift(first, module) == {"drift/head": 0.1}  # type: ignore[arg-type]
    assert Instruments(10, start).drift(second, module) == {}  # type: ignore[arg-type]


def test_tracebacks_of_further_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning starts them with the environment of the first, in which HYDRA_FULL_ERROR is set for Hydra."""
    for name in ("LOCAL_RANK", "HYDRA_FULL_ERROR", "KHASR_TRACEBACKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KHASR_TRACEBACKS", "")
    assert not _tracebacks_wanted()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not _tracebacks_wanted()
    monkeypatch.delenv("LOCAL_RANK")
    assert _tracebacks_wanted()
