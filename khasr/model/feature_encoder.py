"""The feature encoder of wav2vec 2.0, computed as matrix products over (batch, time, channels).

transformers computes each strided convolution over (batch, channels, time) and transposes twice around its layer norm.
Here a window consists of runs of `stride` samples. Each run is a row of a strided view of the input, and a convolution
is one matrix product per run, accumulated in place: nothing is transposed, padded or copied, forward or backward. The
weights stay in transformers' modules. experiments/speed has measurements.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def encode_features(encoder: nn.Module, waveforms: Tensor, recompute: bool = False) -> Tensor:
    """The features of waveforms, (batch, frames, channels); equal to transformers' up to rounding.

    Args:
        encoder: transformers' `Wav2Vec2FeatureEncoder`.
        waveforms: (batch, samples).
        recompute: whether activations are computed again in the backward pass instead of kept.
    """
    layers: list[Any] = list(encoder.conv_layers)  # type: ignore[arg-type]
    if not all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) for layer in layers):
        # wav2vec 2.0 base has a group norm over time in its first layer: computed by transformers.
        features: Tensor = encoder(waveforms)
        return features.transpose(1, 2)
    hidden = waveforms[:, :, None]
    for layer in layers:
        trained = layer.conv.weight.requires_grad
        hidden = (
            checkpoint(_layer, layer, hidden, use_reentrant=False) if recompute and trained else _layer(layer, hidden)
        )
    return hidden


def _layer(layer: Any, hidden: Tensor) -> Tensor:
    activated: Tensor = layer.activation(layer.layer_norm(strided_convolution(hidden, layer.conv)))
    return activated


def strided_convolution(hidden: Tensor, convolution: nn.Conv1d) -> Tensor:
    """A convolution without padding, (batch, time, channels) in and out."""
    (kernel,), (stride,) = convolution.kernel_size, convolution.stride
    if hidden.shape[1] < kernel:
        raise ValueError(f"The input has {hidden.shape[1]} positions, fewer than the convolution's kernel of {kernel}.")
    weight, bias = convolution.weight, convolution.bias
    kind = hidden.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        # autocast does not cover in-place products.
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    result: Tensor = _StridedConvolution.apply(hidden.contiguous(), weight, bias, stride)
    return result


class _StridedConvolution(torch.autograd.Function):
    """The products of the convolution and their gradients, written in place.

    torch's gradient of a slice is a tensor of zeros to which the slice is added; in the first layers, filling and
    adding those takes a sixth of the step.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        batch, time, channels = hidden.shape
        outputs, _, kernel = weight.shape
        frames = (time - kernel) // stride + 1
        ctx.save_for_backward(hidden, weight)
        ctx.stride, ctx.has_bias = stride, bias is not None
        result: Tensor | None = None
        for first, last in _runs(kernel, stride, channels, outputs):
            windows = _windows(hidden, frames, stride, first, last)
            matrix = _matrix(weight, first, last).expand(batch, -1, -1)
            if result is not None:
                result.baddbmm_(windows, matrix)
            elif bias is not None:
                result = torch.baddbmm(bias, windows, matrix)
            else:
                result = torch.bmm(windows, matrix)
        assert result is not None
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        hidden, weight = ctx.saved_tensors
        stride = ctx.stride
        batch, _, channels = hidden.shape
        outputs, _, kernel = weight.shape
        gradient = gradient.contiguous()
        frames = gradient.shape[1]
        of_hidden = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_hidden = torch.empty_like(hidden)
            of_hidden[:, min(frames * stride, hidden.shape[1]) :] = 0  # not written by the first run
            if kernel < stride:
                of_hidden.zero_()
            for first, last in _runs(kernel, stride, channels, 0):
                place = _windows(of_hidden, frames, stride, first, last)
                matrix = _matrix(weight, first, last).mT.expand(batch, -1, -1)
                if first == 0:
                    torch.bmm(gradient, matrix, out=place)
                else:
                    place.baddbmm_(gradient, matrix)
        if ctx.needs_input_grad[1]:
            products = [
                torch.bmm(_windows(hidden, frames, stride, first, last).mT, gradient).sum(dim=0)
                for first, last in _runs(kernel, stride, channels, outputs)
            ]
            of_weight = torch.cat(products).view(kernel, channels, outputs).permute(2, 1, 0)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum(dim=(0, 1))
        return of_hidden, of_weight, of_bias, None


def _runs(kernel: int, stride: int, channels: int, outputs: int) -> list[tuple[int, int]]:
    """The runs of positions in a window, as (first, last).

    A window that is narrower than the output is one run: copying it takes less time than a second product.
    """
    if kernel * channels <= outputs:
        return [(0, kernel)]
    return [(first, min(first + stride, kernel)) for first in range(0, kernel, stride)]


def _windows(hidden: Tensor, frames: int, stride: int, first: int, last: int) -> Tensor:
    """Positions `first` to `last` of each window, (batch, frames, positions * channels); a view without overlap."""
    batch, time, channels = hidden.shape
    width = (last - first) * channels
    view = hidden.as_strided(
        (batch, frames, width), (time * channels, stride * channels, 1), hidden.storage_offset() + first * channels
    )
    return view.contiguous() if last - first > stride else view


def _matrix(weight: Tensor, first: int, last: int) -> Tensor:
    """The weights of positions `first` to `last`, (positions * channels, outputs)."""
    outputs, channels, _ = weight.shape
    return weight[:, :, first:last].permute(2, 1, 0).reshape((last - first) * channels, outputs)
