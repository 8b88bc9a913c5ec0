"""khasr's dropout has the given probability, and its attention without dropout equals that of transformers."""

import math

import pytest
import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2Model
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from khasr.config import ArchitectureConfig, ModelConfig, TextConfig
from khasr.model.ctc import CtcModel
from khasr.model.dropout import Dropout, attend, drop
from khasr.model.weights import describe_model, load_start
from khasr.text.vocabulary import Vocabulary


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5, 0.9])
def test_drop(probability: float) -> None:
    torch.manual_seed(0)
    values = torch.ones(400, 1001)  # 1001 is not a multiple of four
    dropped = drop(values, probability)
    share = (dropped == 0).float()
    deviation = math.sqrt(probability * (1 - probability) / values.numel())
    assert abs(share.mean().item() - probability) < 4 * deviation
    # Neighbouring elements share a random number but are independent.
    together = (share[:, :-1] * share[:, 1:]).mean().item()
    assert abs(together - probability**2) < 4 * math.sqrt(probability**2 / values.numel()) + 2e-3
    assert dropped.max().item() == pytest.approx(1 / (1 - probability), rel=2e-4)


def test_gradient_and_seed() -> None:
    values = torch.randn(7, 9, requires_grad=True)
    torch.manual_seed(3)
    dropped = drop(values, 0.5)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad == 0, dropped == 0)
    torch.manual_seed(3)
    assert torch.equal(drop(values, 0.5), dropped)
    assert drop(values, 1.0).eq(0).all()


def test_evaluation_mode() -> None:
    values = torch.randn(5)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("mask", ["none", "bool", "float"])
def test_attention_without_dropout(mask: str, positions: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 11, 8, requires_grad=True) for _ in range(3))
    attended = torch.ones(2, 1, 11, 11, dtype=torch.bool)
    attended[1, :, :, 6:] = False
    masks = {"none": None, "bool": attended, "float": torch.zeros(2, 1, 11, 11).masked_fill(~attended, -1e30)}
    bias = torch.randn(2, 3, 11, 11) if positions else None
    module = nn.Module()
    module.is_causal = False  # type: ignore[assignment]
    # A probability below 1/65,536 uses the code with dropout but drops nothing.
    ours, _ = attend(module, query, key, value, masks[mask], 1e-9, 0.3, position_bias=bias)
    theirs, _ = sdpa_attention_forward(module, query, key, value, masks[mask], 0.0, 0.3, position_bias=bias)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for wanted in (query, key, value):
        (gradient,) = torch.autograd.grad(ours.sin().sum(), wanted, retain_graph=True)
        (expected,) = torch.autograd.grad(theirs.sin().sum(), wanted, retain_graph=True)
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def test_use_own_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = ArchitectureConfig(
        hidden_size=32, layers=2, heads=2, intermediate_size=64, conv_dim=[16] * 7, pos_conv_kernel=8, pos_conv_groups=2
    )
    options = ModelConfig(init="random", architecture=shape, attention_dropout=0.3, gradient_checkpointing=False)
    model = CtcModel(load_start(options).encoder, 7, options)
    assert not [m for m in model.modules() if type(m) is nn.Dropout]
    dropped: list[float] = []
    monkeypatch.setattr("khasr.model.dropout.drop", lambda values, p: dropped.append(p) or values)
    audio = torch.randn(1, 8_000), torch.tensor([8_000])
    model.eval()(*audio)
    assert dropped == []
    model.train()(*audio)
    assert dropped.count(0.3) == 2  # the weights of both layers' attention
    saved = describe_model(model, Vocabulary.of_texts(["កខគងច"]), options, TextConfig())
    assert "khasr" not in str(saved["khasr"]["encoder"])
    again = Wav2Vec2Model(Wav2Vec2Config(**saved["khasr"]["encoder"]))
    assert again.config._attn_implementation == "sdpa"
