"""The feature encoder of wav2vec 2.0, computed as matrix products over (batch, time, channels).

transformers computes each strided convolution over (batch, channels, time) and transposes twice around its layer norm.
Here a window is a few runs of `stride` samples, each run a row of a matrix, and a convolution is one product for each
run: nothing is transposed or unfolded. The weights stay in transformers' modules.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def encode_features(encoder: nn.Module, waveforms: Tensor, recompute: bool = False) -> Tensor:
    """The features of waveforms, (batch, frames, channels); the numbers are transformers' up to rounding.

    Args:
        encoder: transformers' `Wav2Vec2FeatureEncoder`.
        waveforms: (batch, samples).
        recompute: whether activations are computed again in the backward pass instead of kept.
    """
    layers: list[Any] = list(encoder.conv_layers)  # type: ignore[arg-type]
    if not all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) for layer in layers):
        # wav2vec 2.0 base has a group norm over time in its first layer: transformers' own way.
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
    batch, time, channels = hidden.shape
    frames = (time - kernel) // stride + 1
    runs = -(-kernel // stride)
    rows = frames + runs - 1
    missing = rows * stride - time
    # Past the last whole window lies either too much, or too little to fill the last run's row.
    hidden = F.pad(hidden, (0, 0, 0, missing)) if missing > 0 else hidden[:, : rows * stride]
    windows = hidden.reshape(batch, rows, stride * channels)
    result = None
    for run in range(runs):
        weight = convolution.weight[:, :, run * stride : (run + 1) * stride]  # (out, in, stride or less)
        width = weight.shape[2] * channels
        # Every row is multiplied, then shifted: slicing the rows first would copy them.
        product = windows[:, :, :width] @ weight.permute(2, 1, 0).reshape(width, -1)
        shifted = product[:, run : run + frames]
        result = shifted if result is None else result + shifted
    assert result is not None
    return result if convolution.bias is None else result + convolution.bias
