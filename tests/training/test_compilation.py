"""Compiled layers compute what uncompiled ones do."""

import copy
from typing import Any

import pytest
import torch

from khasr.config import ArchitectureConfig, Config, FinetuneConfig, FolderConfig, LoraConfig, ModelConfig
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.finetune import apply_finetune, encoder_layers, remove_adapters
from khasr.model.weights import load_start
from khasr.training import compilation
from khasr.training.compilation import choose_compilation, compile_layers

SHAPE = ArchitectureConfig(
    hidden_size=16, layers=2, heads=2, intermediate_size=32, conv_dim=[8] * 3, conv_kernel=[40, 8, 4],
    conv_stride=[20, 4, 4], pos_conv_kernel=4, pos_conv_groups=2,
)  # fmt: skip
DROPOUT: dict[str, Any] = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1}


def step(model: CtcModel, samples: int) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss and the gradients of a batch, which depend only on its length."""
    torch.manual_seed(samples)
    waveforms, lengths = torch.randn(2, samples), torch.tensor([samples, samples - 1000])
    log_probs, frames = model(waveforms, lengths)
    loss = ctc_losses(log_probs, frames, torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 2])).mean()
    model.zero_grad()
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("options", "finetune"),
    [
        (DROPOUT | {"layerdrop": 0.5}, FinetuneConfig(freeze_feature_encoder=False)),
        (DROPOUT | {"gradient_checkpointing": True}, LoraConfig(rank=2)),
    ],
    ids=["layerdrop", "recomputed, adapters"],
)
def test_compiled_equals_uncompiled(options: dict[str, Any], finetune: FinetuneConfig) -> None:
    """Losses and gradients at several lengths, with a frozen encoder in between; names of weights do not change.

    With a backend that traces the layers but generates no code: that of GPUs takes a minute to compile on a CPU.
    """
    torch.manual_seed(0)
    shaped = ModelConfig(init="random", checkpoint=None, architecture=SHAPE, **options)
    model = CtcModel(load_start(shaped).encoder, 5, shaped)
    apply_finetune(model, finetune, shaped)
    compiled = copy.deepcopy(model.train())
    compile_layers(compiled, required=True, backend="eager")
    trained = {name for name, p in model.encoder.named_parameters() if p.requires_grad}
    for samples, frozen in ((8000, False), (6000, True), (9000, False)):
        for network in (model, compiled):
            for name, parameter in network.encoder.named_parameters():
                parameter.requires_grad_(name in trained and not frozen)
        (loss, gradients), (expected_loss, expected) = step(compiled, samples), step(model, samples)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert set(gradients) == set(expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)
    assert list(compiled.state_dict()) == list(model.state_dict())
    assert all(layer._compiled_call_impl is not None for layer in encoder_layers(compiled.encoder))
    for network in (model.eval(), compiled.eval()):
        remove_adapters(network)
    with torch.inference_mode():
        waveforms, lengths = torch.randn(1, 5000), torch.tensor([5000])
        torch.testing.assert_close(compiled(waveforms, lengths)[0], model(waveforms, lengths)[0])


@pytest.mark.parametrize(
    ("asked", "gpu", "strategy", "capability", "triton", "expected"),
    [
        ("auto", True, "auto", (8, 9), True, True), ("auto", True, "ddp", (7, 0), True, True),
        ("auto", True, "fsdp", (9, 0), True, False), ("auto", True, "auto", (6, 1), True, False),
        ("auto", True, "auto", (9, 0), False, False), ("auto", False, "auto", (9, 0), True, False),
        (True, False, "auto", (9, 0), False, True), (False, True, "auto", (9, 0), True, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("parameters", [10**6, 3 * 10**8])
def test_choice(
    monkeypatch: pytest.MonkeyPatch, asked: Any, gpu: bool, strategy: Any, capability: tuple[int, int], triton: bool,
    expected: bool, parameters: int,
) -> None:  # fmt: skip
    """auto: large models on GPUs that Triton compiles for, and not with fsdp."""
    monkeypatch.setattr(compilation, "uses_gpu", lambda options: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda name: name if triton else None)  # type: ignore[attr-defined]
    config = Config(data=FolderConfig())
    config.model.compile, config.trainer.strategy = asked, strategy
    assert choose_compilation(config, parameters) is (expected and (asked is True or parameters > 10**8))
