import pytest
import torch
from torch import nn
from transformers import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2FeatureEncoder

from khasr.model.feature_encoder import encode_features, strided_convolution

SHAPES = [
    ([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]),  # XLS-R's
    ([40, 8, 4], [20, 4, 4]),  # model=tiny's
    ([7, 5, 3], [2, 3, 1]),  # kernels that are not multiples of the stride
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(10, 5), (3, 2), (2, 2), (7, 2), (4, 1), (3, 5)])
@pytest.mark.parametrize("time", [10, 11, 37])
def test_strided_convolution(kernel: int, stride: int, time: int, bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv1d(3, 4, kernel, stride, bias=bias).double()
    hidden = torch.randn(2, time, 3, dtype=torch.double, requires_grad=True)
    ours = strided_convolution(hidden, convolution)
    theirs = convolution(hidden.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    for wanted in (hidden, convolution.weight):
        (gradient,) = torch.autograd.grad(ours.sin().sum(), wanted, retain_graph=True)
        (expected,) = torch.autograd.grad(theirs.sin().sum(), wanted, retain_graph=True)
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize(("kernel", "stride"), SHAPES)
def test_encode_features(kernel: list[int], stride: list[int], norm: str, recompute: bool) -> None:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        conv_dim=[16] * len(kernel), conv_kernel=kernel, conv_stride=stride, feat_extract_norm=norm, conv_bias=True
    )
    encoder = Wav2Vec2FeatureEncoder(config)
    waveforms = torch.randn(3, 4_321)
    ours, theirs = encode_features(encoder, waveforms, recompute), encoder(waveforms).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, atol=5e-6, rtol=1e-5)
    weight = encoder.conv_layers[0].conv.weight
    (gradient,) = torch.autograd.grad(ours.sin().sum(), weight)
    (expected,) = torch.autograd.grad(theirs.sin().sum(), weight)
    torch.testing.assert_close(gradient, expected, atol=1e-3, rtol=1e-3)


def test_audio_shorter_than_kernel() -> None:
    with pytest.raises(ValueError, match="3 positions, fewer than the convolution's kernel of 4"):
        strided_convolution(torch.randn(1, 3, 2), nn.Conv1d(2, 3, 4))


def test_autocast_and_meta() -> None:
    convolution = nn.Conv1d(3, 4, 3, 2)
    hidden = torch.randn(2, 9, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        half = strided_convolution(hidden, convolution)
    half.sum().backward()
    assert half.dtype == torch.bfloat16
    assert hidden.grad is not None
    assert convolution.weight.grad is not None
    torch.testing.assert_close(half.float(), strided_convolution(hidden, convolution), atol=0.05, rtol=0.05)
    assert strided_convolution(hidden.to("meta"), convolution.to("meta")).shape == (2, 4, 4)
