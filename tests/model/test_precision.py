"""The precision in which a trained model is scored."""

from typing import Any

import numpy as np
import pytest
import torch

from khasr.config import ArchitectureConfig, ModelConfig, PrecisionConfig
from khasr.data.batching import Example, collate
from khasr.inference import recogniser as recogniser_module
from khasr.inference.recogniser import Recogniser, recognise
from khasr.model.ctc import CtcModel
from khasr.model.precision import scoring_autocast, scoring_type, set_tf32
from khasr.model.weights import load_start
from khasr.text.vocabulary import Vocabulary

SHAPE = ArchitectureConfig(
    hidden_size=32, layers=1, heads=2, intermediate_size=64, conv_dim=[16] * 3, conv_kernel=[40, 8, 4],
    conv_stride=[20, 4, 4], pos_conv_kernel=8, pos_conv_groups=2,
)  # fmt: skip


def test_tf32() -> None:
    """In products and in convolutions, for which torch has different defaults."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for allowed in (True, False):
            set_tf32(PrecisionConfig("fp32", tf32=allowed))
            assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("cuda", "bf16", torch.bfloat16), ("cuda", "fp16", torch.float16), ("cuda", "fp32", None),
        ("cpu", "bf16", None), ("cpu", "fp32", None),
    ],
)  # fmt: skip
def test_scoring_type(device: str, precision: str, expected: torch.dtype | None) -> None:
    """That of training on a GPU, float32 on a CPU."""
    assert scoring_type(torch.device(device), precision) is expected
    if device == "cpu":  # torch has no autocast for a GPU that is not there
        with scoring_autocast(torch.device(device), precision):
            assert torch.is_autocast_enabled("cpu") is (expected is not None)


def test_scored_with_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of scoring use it, with the precision of training, and decode log-probabilities in float32."""
    torch.manual_seed(0)
    options = ModelConfig(init="random", checkpoint=None, architecture=SHAPE)
    vocabulary = Vocabulary.of_texts(["ab"])
    model = CtcModel(load_start(options).encoder, len(vocabulary), options).eval()
    asked: list[str] = []

    def as_on_a_gpu(device: torch.device, precision: str) -> torch.autocast:
        asked.append(precision)
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")

    monkeypatch.setattr(recogniser_module, "scoring_autocast", as_on_a_gpu)
    waveform = torch.randn(8000)
    batch = collate([Example("a", "ab", waveform, torch.tensor([1, 2]))])
    found: dict[str, list[Any]] = {}
    for precision in ("fp32", "bf16"):

        def decode(log_probs: torch.Tensor, frame_lengths: torch.Tensor) -> list[str]:
            assert log_probs.dtype is torch.float32
            found.setdefault(precision, []).append(log_probs[0].numpy())  # noqa: B023 - called in this pass
            return ["ab"]

        recognise(model, [batch], decode, precision)
        scored = Recogniser(model, vocabulary, None, None, precision=precision)  # type: ignore[arg-type]
        (log_probs,) = scored.log_probs(batch.waveforms, batch.waveform_lengths)
        assert log_probs.dtype == np.float32
        found[precision].append(log_probs)
    assert asked == ["fp32", "fp32", "bf16", "bf16"]
    for exact, half in zip(found["fp32"], found["bf16"], strict=True):
        assert 0 < np.abs(exact - half).max() < 0.1
