"""The supported kinds of encoder: their transformers classes, and the computation of frames from waveforms.

wav2vec 2.0 (XLS-R and MMS are of this kind), HuBERT and WavLM have strided convolutions over waveforms; w2v-BERT 2.0
has log-mel features, two frames of 10 ms stacked.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.compliance.kaldi import fbank
from transformers import (
    HubertConfig,
    HubertForCTC,
    HubertModel,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMForCTC,
    WavLMModel,
)

from khasr.data.audio import SAMPLE_RATE
from khasr.model.feature_encoder import encode_features


class Kind(NamedTuple):
    """The transformers classes of a kind, and the name of the encoder within its CTC model."""

    config: type[PreTrainedConfig]
    encoder: type[PreTrainedModel]
    ctc: type[PreTrainedModel]
    prefix: str


KINDS = {
    "wav2vec2": Kind(Wav2Vec2Config, Wav2Vec2Model, Wav2Vec2ForCTC, "wav2vec2"),
    "hubert": Kind(HubertConfig, HubertModel, HubertForCTC, "hubert"),
    "wavlm": Kind(WavLMConfig, WavLMModel, WavLMForCTC, "wavlm"),
    "wav2vec2-bert": Kind(Wav2Vec2BertConfig, Wav2Vec2BertModel, Wav2Vec2BertForCTC, "wav2vec2_bert"),
}


_MEL = "wav2vec2-bert"


_WINDOW, _SHIFT = 400, 160  # of mel frames, in samples


def check_kind(config: PreTrainedConfig, name: str) -> None:
    """Checks that khasr can train an encoder with this configuration.

    Raises:
        ValueError: the kind is not supported, or its frames are not 20 ms.
    """
    if config.model_type not in KINDS:
        raise ValueError(
            f"model.checkpoint={name} is of the kind {config.model_type}; expected one of {', '.join(KINDS)} "
            "(wav2vec 2.0, XLS-R, MMS; HuBERT; WavLM; w2v-BERT 2.0)."
        )
    if getattr(config, "add_adapter", False):
        raise ValueError(
            f"model.checkpoint={name} has convolutions after its encoder that shorten its output (add_adapter), for "
            "sequence-to-sequence models; khasr requires frames of 20 ms."
        )


def encode_frames(
    encoder: Any, waveforms: Tensor, waveform_lengths: Tensor, recompute: bool, features: Tensor | None = None
) -> Tensor:
    """The input of the transformer, (batch, frames, hidden), before masking.

    Args:
        encoder: one of `KINDS`.
        waveforms: (batch, samples).
        waveform_lengths: (batch,) in samples.
        recompute: whether activations are computed again in the backward pass instead of kept.
        features: the output of the feature encoder, if it is known.
    """
    if features is None and encoder.config.model_type == _MEL:
        features = mel_features(waveforms, waveform_lengths).to(encoder.feature_projection.projection.weight.dtype)
    elif features is None:
        features = encode_features(encoder.feature_extractor, waveforms, recompute)
    projected = encoder.feature_projection(features)
    hidden: Tensor = projected[0] if isinstance(projected, tuple) else projected  # HuBERT returns a single tensor
    return hidden


def run_transformer(encoder: Any, hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """The output of the transformer, (batch, frames, hidden), for the possibly masked output of `encode_frames`."""
    output: Tensor = encoder.encoder(hidden, attention_mask=attention_mask).last_hidden_state
    if getattr(encoder, "intermediate_ffn", None) is not None:  # some w2v-BERT 2.0 models
        output = output + 0.5 * encoder.intermediate_ffn(output)
    return output


def frame_lengths(config: PreTrainedConfig, waveform_lengths: Tensor) -> Tensor:
    """The number of frames of waveforms with these lengths in samples."""
    if config.model_type == _MEL:
        mel_frames = (waveform_lengths - _WINDOW).div(_SHIFT, rounding_mode="floor") + 1
        return mel_frames.clamp(min=0).div(2, rounding_mode="floor")
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        waveform_lengths = (waveform_lengths - kernel).div(stride, rounding_mode="floor") + 1
    return waveform_lengths.clamp(min=0)


def mel_features(waveforms: Tensor, waveform_lengths: Tensor) -> Tensor:
    """w2v-BERT 2.0's features, (batch, frames, 160) float32, as from transformers' `SeamlessM4TFeatureExtractor`.

    80 log-mel energies of 25 ms every 10 ms, with mean 0 and variance 1 per utterance, two frames stacked. An odd last
    frame is left out; transformers keeps and masks it.
    """
    rows: list[Tensor] = []
    with torch.autocast(waveforms.device.type, enabled=False):
        for waveform, length in zip(waveforms.float(), waveform_lengths.tolist(), strict=True):
            if length < _WINDOW:
                rows.append(waveform.new_zeros(0, 160, dtype=torch.float32))
                continue
            # Kaldi's scale, that of 16-bit samples.
            mel = fbank(
                waveform[None, :length] * 2**15, num_mel_bins=80, dither=0.0, sample_frequency=float(SAMPLE_RATE)
            )
            mel = (mel - mel.mean(dim=0)) / (mel.var(dim=0, correction=1) + 1e-7).sqrt() if len(mel) > 1 else 0 * mel
            rows.append(mel[: len(mel) // 2 * 2].reshape(-1, 160))
    most = max(len(row) for row in rows)
    return torch.stack([F.pad(row, (0, 0, 0, most - len(row))) for row in rows])
