"""Predicted memory and time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from khasr.config import Config
from khasr.model.ctc import CtcModel
from khasr.model.finetune import apply_finetune
from khasr.model.footprint import Footprint, count_step, step_footprint
from khasr.model.weights import load_start
from khasr.training import plan as plan_module
from khasr.training import recomputation
from khasr.training.plan import Gpu, print_plan
from khasr.training.prediction import GIB, memory_by_use

Small = Callable[..., Config]
COUNTED = Footprint(
    parameters=100 * GIB, trained=50 * GIB, factored=GIB, activation_bytes=7 * GIB, flops=10**12, seconds=10.0
)


def test_counted_bytes_of_a_real_step(small: Small) -> None:
    """A step without values needs the bytes of one that is computed, or 15 % more; recomputing needs fewer."""
    options = small().model

    def build() -> CtcModel:
        model = CtcModel(load_start(options).encoder, 5, options)
        apply_finetune(model, small().finetune, options)
        return model.train()

    found = {}
    for recompute in (False, True):
        options.gradient_checkpointing = recompute
        found[recompute] = step_footprint(build, 4, 32_000, None)
        computed = count_step(build(), 4, 32_000, None)
        # Random numbers of dropout are counted twice.
        assert 0.99 < found[recompute].activation_bytes / computed.activation_bytes < 1.15
        assert found[recompute].parameters == computed.parameters == sum(p.numel() for p in build().parameters())
    assert 0 < found[True].activation_bytes < found[False].activation_bytes
    assert found[True].flops > found[False].flops > 0


@pytest.mark.parametrize(
    ("change", "devices", "expected"),
    [
        ([], 1, {"weights": 400, "gradients": 200, "optimizer": 400, "activations": 7, "CUDA": 0.6}),
        (["optimizer.ema_decay=0.9"], 1, {"optimizer": 600}),
        (["optimizer=adamw_8bit"], 1, {"optimizer": 103}),
        (["optimizer=adafactor"], 1, {"optimizer": 4}),
        (
            ["trainer=fsdp", "trainer.devices=4"],
            4,
            {"weights": 100, "gradients": 50, "optimizer": 100, "activations": 7},
        ),
        (["trainer=ddp", "trainer.devices=4"], 4, {"weights": 400, "gradients": 200, "optimizer": 400}),
    ],
)
def test_memory_by_use(small: Small, change: list[str], devices: int, expected: dict[str, float]) -> None:
    found = memory_by_use(small(*change), COUNTED, devices)
    assert {use: found[use] for use in expected} == pytest.approx(expected)


def test_printed(small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Memory of each use and hours; a run that does not fit is refused with what to change."""
    footprints: list[Config] = []

    def counted(config: Config, utterances: int, samples: int, symbols: int, *shape: Any) -> Footprint:
        footprints.append(config)
        size = (1 if config.model.gradient_checkpointing else 4) * utterances
        return replace(COUNTED, parameters=GIB, trained=GIB, activation_bytes=size * GIB)

    monkeypatch.setattr(plan_module, "predict", counted)
    monkeypatch.setattr(recomputation, "predict", counted)
    monkeypatch.setattr(
        plan_module,
        "GPUS",
        {
            "new": Gpu("A new GPU", 40.0, 100, 50),
            "old": Gpu("An old one", 26.0, 10, 5),
            "tight": Gpu("A tight one", 33.0, 100, 50),
        },
    )
    config = small("precision=bf16", "model.gradient_checkpointing=false")
    print_plan(config, "new")
    printed = capsys.readouterr().out
    assert printed.startswith("Predicted for 1 x A new GPU; nothing was measured.")
    assert "32.6 of 40.0" in printed
    assert "0.10 TFLOP per second of audio; at 30% of 100 TFLOPS 300 s of audio/s" in printed
    for gpu in ("old", "tight"):
        with pytest.raises(ValueError, match=r"85% may.* would, at 20.6 GiB, with: model.gradient_checkpointing=true$"):
            print_plan(config, gpu)
    with pytest.raises(ValueError, match=r"trainer.plan=newest: expected one of new, old"):
        print_plan(config, "newest")
    assert config.model.gradient_checkpointing is False
    print_plan(small("precision=bf16", "model.gradient_checkpointing=auto"), "old")
    printed = capsys.readouterr().out
    assert "activations are recomputed (model.gradient_checkpointing=auto): with kept ones the largest batch" in printed
    assert "20.6 of 26.0" in printed


@pytest.mark.parametrize(("size", "parts", "expected"), [(8, 4, (2, 4)), (6, 4, (1, 6)), (2, 8, (1, 2))])
def test_smaller_batch(small: Small, size: int, parts: int, expected: tuple[int, int]) -> None:
    """An optimizer step keeps its number of utterances."""
    config = small(f"data.batch_size={size}", "trainer.accumulate_grad_batches=1")
    plan_module._smaller_batch(config, parts).apply(config)
    assert (config.data.batch_size, config.trainer.accumulate_grad_batches) == expected
