"""A cache of the outputs of a frozen feature encoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from khasr.config import AugmentConfig, ModelConfig
from khasr.model.ctc import CtcModel
from khasr.model.encoders import frame_lengths
from khasr.model.feature_encoder import encode_features

_BYTES = 4  # of float32


class FeatureCache:
    """Features of utterances by id, in CPU memory.

    Each utterance is encoded alone, because rounding depends on the batch, and a resumed run, whose cache is empty at
    first, must equal an uninterrupted one bit for bit.
    """

    def __init__(self) -> None:
        self._features: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._features)

    @torch.no_grad()
    def features(self, encoder: nn.Module, waveforms: Tensor, waveform_lengths: Tensor, ids: Sequence[str]) -> Tensor:
        """Features of a batch, (batch, frames, channels), zero-padded at the end.

        Args:
            encoder: transformers' feature encoder.
            waveforms: (batch, samples).
            waveform_lengths: (batch,) in samples.
            ids: ids of the utterances; an id always has the same waveform.
        """
        for id_, waveform, length in zip(ids, waveforms, waveform_lengths.tolist(), strict=True):
            if id_ not in self._features:
                self._features[id_] = encode_features(encoder, waveform[None, :length])[0].cpu()
        rows = [self._features[id_] for id_ in ids]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(waveforms.device, non_blocking=True)


def build_feature_cache(
    model: CtcModel, options: ModelConfig, augment: AugmentConfig, lengths: Sequence[int]
) -> FeatureCache | None:
    """A cache for training utterances with these lengths in samples; None if features change or do not fit.

    Features change if the feature encoder is trained or waveforms are augmented; with a norm over time (wav2vec 2.0
    base) they depend on the padding. Either all utterances are cached or none, so that results do not depend on the
    order of utterances.
    """
    encoder: Any = getattr(model.encoder, "feature_extractor", None)
    if encoder is None or any(p.requires_grad for p in encoder.parameters()):
        return None
    if augment != AugmentConfig():
        return None
    if not all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) for layer in encoder.conv_layers):
        return None
    config = model.encoder.config
    frames = int(frame_lengths(config, torch.tensor(lengths)).sum())
    fits = frames * config.conv_dim[-1] * _BYTES <= options.feature_cache_gib * 2**30
    return FeatureCache() if fits else None
