"""The memory and the arithmetic of a training step, counted on tensors that have shapes but no values."""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from khasr.data.audio import SAMPLE_RATE
from khasr.model.ctc import CtcModel


@dataclass(frozen=True)
class Footprint:
    """What a training step on one batch needs.

    Attributes:
        parameters: number of weights.
        trained: number of those that are trained.
        factored: number of values in the factored second moments of Adafactor: a row and a column for each matrix.
        activation_bytes: the most bytes that the forward and the backward pass hold at once, beyond weights, gradients
            and the batch.
        flops: floating-point operations of both passes, recomputation included.
        seconds: audio in the batch, padding included.
    """

    parameters: int
    trained: int
    factored: int
    activation_bytes: int
    flops: int
    seconds: float


class Counter(TorchDispatchMode):
    """Counts operations, and the bytes of the tensors that they return, for as long as these are alive.

    torch's FlopCounterMode keeps recomputed activations alive.

    Attributes:
        now: bytes that are alive.
        most: the most bytes that were alive at once.
        flops: floating-point operations of products and convolutions.
    """

    def __init__(self) -> None:
        super().__init__()
        self._references: dict[int, weakref.ref[Any]] = {}
        self.now = self.most = self.flops = 0

    def hold(self, tensor: Tensor) -> None:
        """Counts a tensor's storage, once."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._references:
            return

        def freed(_: Any) -> None:
            self.now -= size
            del self._references[key]

        self._references[key] = weakref.ref(storage, freed)
        self.now += size
        self.most = max(self.most, self.now)

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        """Runs an operation and counts it and what it returns."""
        result = function(*arguments, **(named or {}))
        name = function.name().split("::")[1].split(".")[0].rstrip("_")  # baddbmm_ as baddbmm
        if (formula := flop_registry.get(getattr(torch.ops.aten, name, None))) is not None:
            self.flops += formula(*arguments, **(named or {}), out_val=result)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.hold(leaf)
        return result


def step_footprint(
    build: Callable[[], CtcModel], utterances: int, samples: int, precision: torch.dtype | None
) -> Footprint:
    """The footprint of a step on a batch of equally long utterances, without computing it.

    Counted for a CPU, because torch has no backward pass for a GPU that is not there, with layer norms as a GPU's
    autocast computes them. A GPU needs less for dropout: one byte for each element of a mask instead of two or four.

    Args:
        build: builds the model, in training mode, with its trained parameters selected.
        samples: in an utterance.
        precision: type of autocast; None for float32.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        return count_step(build(), utterances, samples, precision)


def count_step(model: CtcModel, utterances: int, samples: int, precision: torch.dtype | None) -> Footprint:
    """The footprint of a step of a model, computed if its tensors have values."""
    device = next(model.parameters()).device
    trained = [p for p in model.parameters() if p.requires_grad]
    waveforms, lengths = torch.randn(utterances, samples, device=device), torch.full((utterances,), samples)
    for parameter in trained:  # held from the first to the last batch of a step
        parameter.grad = torch.zeros_like(parameter)
    counter = Counter()
    for tensor in (*model.parameters(), *model.buffers(), *(p.grad for p in trained), waveforms):
        if tensor is not None:
            counter.hold(tensor)
    before = counter.now
    with counter, _norms_in_float32(precision is not None):
        kind = precision or torch.bfloat16
        with torch.autocast(device.type, dtype=kind, enabled=precision is not None, cache_enabled=False):
            log_probs, _ = model(waveforms, lengths)
        # CTC, whose shapes depend on values, needs little beside the transformer.
        log_probs.mean().backward()
    return Footprint(
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in trained),
        factored=sum(_factored(p.shape) for p in trained),
        activation_bytes=counter.most - before,
        flops=counter.flops,
        seconds=utterances * samples / SAMPLE_RATE,
    )


@contextlib.contextmanager
def _norms_in_float32(autocast: bool) -> Iterator[None]:
    """Layer norms in float32 whatever their input, as in autocast on GPUs; on a CPU they keep the type of the input."""
    original = functional.layer_norm

    def wide(input: Tensor, *arguments: Any, **named: Any) -> Tensor:
        return original(input.float(), *arguments, **named)

    if autocast:
        functional.layer_norm = wide
    try:
        yield
    finally:
        functional.layer_norm = original


def _factored(shape: torch.Size) -> int:
    if len(shape) < 2:
        return shape.numel()
    return shape[:-1].numel() + shape[:-2].numel() * shape[-1]
