"""What a training step on a GPU copies back to the CPU, counted on fake CUDA tensors: each copy waits for the GPU."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.distributed.utils import _to_kwargs
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Wav2Vec2Model

from khasr.config import ArchitectureConfig, FinetuneConfig, ModelConfig, OptimizerConfig, ScheduleConfig
from khasr.data.batching import Batch
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.finetune import apply_finetune
from khasr.model.weights import encoder_config
from khasr.text.vocabulary import Vocabulary
from khasr.training.module import CtcModule

SHAPE = ArchitectureConfig(
    hidden_size=32, layers=2, heads=2, intermediate_size=64, conv_dim=[16] * 7, pos_conv_kernel=8, pos_conv_groups=2
)


class Copies(TorchDispatchMode):
    """Counts copies from a GPU to the CPU, reads of a value, and copies to a GPU that the CPU waits for."""

    def __init__(self, device: str = "cuda") -> None:
        super().__init__()
        self._device = device
        self.found: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        name = function.name().split("::")[1]
        self.operations[f"{name} {getattr(arguments[0], 'device', '') if arguments else ''}"] += 1
        result = function(*arguments, **(named or {}))
        on_gpu = any(isinstance(value, torch.Tensor) and value.device.type == self._device for value in arguments)
        back = isinstance(result, torch.Tensor) and result.device.type == "cpu"
        if on_gpu and (back or name in ("_local_scalar_dense", "nonzero", "is_nonzero")):
            self.found[name] += 1
        there = isinstance(result, torch.Tensor) and result.device.type == self._device
        if there and not on_gpu and name == "_to_copy" and not (named or {}).get("non_blocking"):
            self.found["to the GPU"] += 1
        return result


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> FakeTensorMode:
    """While entered, tensors of device cuda have shapes but no values."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    return FakeTensorMode(allow_non_fake_inputs=True)


@pytest.fixture
def devices_of_ctc(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The devices of what torch's CTC gets, which does not run without values. It copies lengths on a GPU to the CPU."""
    seen: list[tuple[str, ...]] = []

    def instead(*tensors: torch.Tensor, reduction: str, zero_infinity: bool) -> torch.Tensor:
        seen.append(tuple(tensor.device.type for tensor in tensors))
        return tensors[0].sum(dim=(0, 2))

    monkeypatch.setattr(torch.nn.functional, "ctc_loss", instead)
    return seen


def build(options: ModelConfig, fake_gpu: FakeTensorMode) -> CtcModule:
    with fake_gpu, torch.device("cuda"):
        model = CtcModel(Wav2Vec2Model(encoder_config(options)), 5, options)
        apply_finetune(model, FinetuneConfig(), options)
        model.encoder.masked_spec_embed = torch.nn.Parameter(torch.zeros(SHAPE.hidden_size))
    module = CtcModule(
        model, Vocabulary.of_texts(["abc"]), OptimizerConfig(), ScheduleConfig(), total_steps=10, seed=0, description={}
    )
    module._trainer = SimpleNamespace(world_size=1, strategy=SimpleNamespace(model=None))  # type: ignore[assignment]
    return module.train()


def batch(fake_gpu: FakeTensorMode) -> Batch:
    lengths, labels = torch.tensor([8000, 6000]), torch.tensor([3, 2])
    with fake_gpu, torch.device("cuda"):
        waveforms, targets = torch.randn(2, 8000), torch.ones(2, 3, dtype=torch.long)
    return Batch(["a", "b"], ["", ""], ["abc", "ab"], waveforms, lengths, targets, labels)


@pytest.mark.parametrize(
    ("precision", "recompute"), [(torch.bfloat16, True), (torch.float16, False), (None, True)], ids=str
)
def test_no_copies_in_a_step(
    fake_gpu: FakeTensorMode,
    devices_of_ctc: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    precision: torch.dtype | None,
    recompute: bool,
) -> None:
    """None in the forward pass, and none when gradients are clipped and a step may be skipped; in neither direction."""
    module = build(ModelConfig(init="random", architecture=SHAPE, gradient_checkpointing=recompute), fake_gpu)
    # Its numbers are of the CPU, whose fake tensors have no values either.
    monkeypatch.setattr(CtcModule, "_count", lambda self, batch, frame_lengths: None)
    monkeypatch.setattr(CtcModule, "global_step", 0)
    monkeypatch.setattr(CtcModule, "global_rank", 0)
    optimizer = torch.optim.AdamW([{"params": list(module.model.parameters()), "layer_scale": 1.0}], fused=True)
    autocast = torch.autocast(
        "cuda", dtype=precision or torch.bfloat16, enabled=precision is not None, cache_enabled=False
    )
    of_two = batch(fake_gpu)
    with fake_gpu:
        module.window._move_to(torch.device("cuda"))  # once in a run
    with fake_gpu, Copies() as copies:
        with autocast:
            loss = module.training_step(of_two, 0)
        for parameter in module.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        module.configure_gradient_clipping(optimizer, 1.0)
        assert not copies.found
        assert copies.operations["_to_copy cuda:0"] or precision is None
        assert (loss.device.type, optimizer.found_inf.device.type) == ("cuda", "cuda")  # type: ignore[attr-defined]
        module.window._sums.cpu()  # for a row
        assert copies.found == {"_to_copy": 1}
    assert devices_of_ctc == [("cuda", "cuda", "cpu", "cpu")]


def test_lengths_stay_on_the_cpu(fake_gpu: FakeTensorMode) -> None:
    """DDP and FSDP, which copy the tensors of a step's arguments to their device, copy none of a batch."""
    ((moved, _),), _ = _to_kwargs((batch(fake_gpu), 0), {}, torch.device("meta"), False)
    assert (moved.waveform_lengths.device.type, moved.target_lengths.device.type) == ("cpu", "cpu")


@pytest.mark.parametrize("recompute", [True, False])
def test_no_copies_in_the_backward_pass(recompute: bool) -> None:
    """On torch's device for tensors without values: torch's backward pass does not run on a GPU that is not there."""
    options = ModelConfig(init="random", architecture=SHAPE, gradient_checkpointing=recompute)
    with torch.device("meta"):
        model = CtcModel(Wav2Vec2Model(encoder_config(options)), 5, options).train()
        apply_finetune(model, FinetuneConfig(freeze_feature_encoder=False), options)
        model.encoder.masked_spec_embed = torch.nn.Parameter(torch.zeros(SHAPE.hidden_size))
        waveforms = torch.randn(2, 8000)
    with Copies("meta") as copies:
        log_probs, _ = model(waveforms, torch.tensor([8000, 6000]))
        log_probs.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not copies.found


@pytest.mark.parametrize(("deterministic", "device"), [(False, "cuda"), (True, "cpu")])
def test_deterministic_ctc(
    fake_gpu: FakeTensorMode, devices_of_ctc: list[tuple[str, ...]], deterministic: bool, device: str
) -> None:
    """torch has no deterministic kernel for GPUs: the loss is computed on the CPU, and returned to the GPU."""
    with fake_gpu, torch.device("cuda"):
        log_probs, targets = torch.randn(2, 9, 5), torch.ones(2, 3, dtype=torch.long)
    torch.use_deterministic_algorithms(deterministic)
    try:
        with fake_gpu:
            losses = ctc_losses(log_probs, torch.tensor([9, 9]), targets, torch.tensor([3, 2]))
    finally:
        torch.use_deterministic_algorithms(False)
    assert losses.device.type == "cuda"
    assert devices_of_ctc == [(device, device, "cpu", "cpu")]
