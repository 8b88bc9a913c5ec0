"""The acoustic model: a pretrained encoder with a linear CTC head."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from khasr.config import ModelConfig
from khasr.model.dropout import Dropout, use_own_dropout
from khasr.model.encoders import encode_frames, frame_lengths, run_transformer
from khasr.model.masks import draw_spans


@torch.no_grad()
def start_head(head: nn.Linear, start: str, std: float) -> None:
    """Sets a new head, whose first output is the blank.

    Args:
        start: `model.head_start`. zero is as Kolesnikov et al. 2020 fine-tune (arXiv 1912.11370); blank as Lin et al.
            2017 (arXiv 1708.02002, section 3.3) start a classifier that has one frequent class.
        std: of random weights.
    """
    nn.init.normal_(head.weight, std=0 if start == "zero" else std)
    nn.init.zeros_(head.bias)
    if start == "blank":
        head.bias[0] = math.log(head.out_features - 1)


class CtcModel(nn.Module):
    """A network from waveforms to frame log-probabilities.

    The encoder is a transformers model (`encoders.KINDS`), so that weights can be exchanged. Masks are drawn here
    because transformers raises an error for audio shorter than a mask.

    Attributes:
        adapter_scale: factor of the products of low-rank adapters; 0 without adapters.
    """

    adapter_scale: float = 0.0

    def __init__(self, encoder: PreTrainedModel, vocabulary_size: int, options: ModelConfig) -> None:
        super().__init__()
        use_own_dropout(encoder)
        self.encoder = encoder
        self.dropout = Dropout(options.final_dropout)
        self.head = nn.Linear(encoder.config.hidden_size, vocabulary_size)
        start_head(self.head, options.head_start, encoder.config.initializer_range)
        self.options = options

    def forward(
        self, waveforms: Tensor, waveform_lengths: Tensor, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Frame log-probabilities of a batch of utterances; masks are drawn in training only.

        Args:
            waveforms: (batch, samples), mono 16 kHz, zero mean and unit variance per utterance, zero-padded at the end.
            waveform_lengths: (batch,) in samples; on a CPU, a GPU need not be waited for.
            features: (batch, frames, channels), the output of the feature encoder if it is known.

        Returns:
            log_probs: (batch, frames, vocab), float32 whatever the autocast type; blank first.
            frame_lengths: (batch,) in frames of 20 ms, on the device of waveform_lengths.
        """
        recompute = self.training and self.options.gradient_checkpointing is True
        hidden = encode_frames(self.encoder, waveforms, waveform_lengths, recompute, features)
        lengths = self.frame_lengths(waveform_lengths)
        on_device = lengths.to(hidden.device, non_blocking=True)
        if self.training:
            hidden = self._masked(hidden, on_device)
        frames = torch.arange(hidden.shape[1], device=hidden.device)
        # Always passed, so that a batch without padding is computed as one with padding.
        hidden = run_transformer(self.encoder, hidden, frames < on_device[:, None])
        logits = self.head(self.dropout(hidden))
        # In half precision log_softmax and CTC give NaN (speechbrain #1803).
        return logits.float().log_softmax(dim=-1), lengths

    def frame_lengths(self, waveform_lengths: Tensor) -> Tensor:
        """The number of frames of waveforms with these lengths in samples."""
        return frame_lengths(self.encoder.config, waveform_lengths)

    def _masked(self, hidden: Tensor, frame_lengths: Tensor) -> Tensor:
        options = self.options
        batch, frames, channels = hidden.shape
        of_starts = options.mask_counting == "paper"
        if options.mask_time_prob > 0:
            masked = draw_spans(
                frame_lengths, frames, options.mask_time_prob, options.mask_time_length, least=2, of_starts=of_starts
            )
            hidden = torch.where(masked[:, :, None], self.encoder.masked_spec_embed.to(hidden.dtype), hidden)
        if options.mask_feature_prob > 0:
            widths = torch.full((batch,), channels, device=hidden.device)
            masked = draw_spans(
                widths, channels, options.mask_feature_prob, options.mask_feature_length, of_starts=of_starts
            )
            hidden = hidden.masked_fill(masked[:, None, :], 0.0)
        return hidden


def ctc_losses(log_probs: Tensor, frame_lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """The CTC loss of each utterance divided by its number of labels, (batch,).

    The mean equals transformers' loss with `ctc_loss_reduction="mean"`.

    An utterance with fewer frames than labels and repeats (Graves 2006, sec. 3.1) has no alignment; its loss and its
    gradient are 0, not infinite.

    torch's CTC has no deterministic kernel for GPUs. Where only deterministic kernels are allowed, it is computed on
    the CPU.

    Args:
        log_probs: (batch, frames, vocab), blank first.
        frame_lengths: (batch,); torch copies lengths on a GPU to the CPU, waiting for the GPU.
        targets: (batch, longest target).
        target_lengths: (batch,).
    """
    device = log_probs.device
    if device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        log_probs, targets = log_probs.cpu(), targets.cpu()
    losses = F.ctc_loss(
        log_probs.transpose(0, 1), targets, frame_lengths, target_lengths, reduction="none", zero_infinity=True
    )
    return losses.to(device) / target_lengths.clamp(min=1).to(device, non_blocking=True)
