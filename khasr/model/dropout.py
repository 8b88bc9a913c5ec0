"""Faster dropout on CPUs, for the layers and the attention of encoders: one random number for four elements.

On a CPU torch draws a 64-bit number for each element on one core, and its attention with dropout has a slow path:
together a fifth of a small model's step (experiments/speed). On a GPU, torch's implementation is used.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_ATTENTION = "khasr"  # the name of `attend` in transformers


_STEPS = 2**16  # resolution of a probability


class Dropout(nn.Dropout):
    """torch's dropout, with the masks of `drop` on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with some elements set to 0 in training."""
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        return drop(input, self.p)


def drop(values: Tensor, probability: float) -> Tensor:
    """The values, each set to 0 with the probability (rounded to 1/65,536), the others scaled to keep the mean."""
    least = round(probability * _STEPS)
    if least >= _STEPS:
        return values * 0
    count = values.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = drawn.view(torch.int16)[:count].view(values.shape) >= least - _STEPS // 2
    return values * kept.to(values.dtype).mul_(_STEPS / (_STEPS - least))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """transformers' attention over (batch, heads, frames, channels), with `drop` for dropout on a CPU."""
    if dropout == 0 or query.device.type != "cpu":
        return cast(
            tuple[Tensor, None],
            sdpa_attention_forward(
                module, query, key, value, attention_mask,
                dropout=dropout, scaling=scaling, position_bias=position_bias, **named,
            ),
        )  # fmt: skip
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.mT
    if position_bias is not None:  # w2v-BERT 2.0's relative positions
        scores = scores + position_bias
    if attention_mask is not None:
        # Boolean: True where attended to. Otherwise it is added.
        boolean = attention_mask.dtype == torch.bool
        scores = (
            scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min) if boolean else scores + attention_mask
        )
    weights = drop(scores.softmax(dim=-1), dropout)
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), None


def attention_mask(*arguments: Any, device: torch.device | str = "cpu", **named: Any) -> Tensor | None:
    """transformers' mask of padding, which on a CPU is None for a batch without padding.

    On a GPU transformers would wait for the device to find out whether there is padding.
    """
    if torch.device(device).type != "cpu":
        named["allow_is_bidirectional_skip"] = False
    mask: Tensor | None = sdpa_mask(*arguments, device=device, **named)
    return mask


def use_own_dropout(encoder: PreTrainedModel) -> None:
    """Replaces the dropout layers of an encoder with `Dropout`, and its attention with `attend`."""
    for module in list(encoder.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p))
    if encoder.config._attn_implementation == "sdpa":
        ALL_ATTENTION_FUNCTIONS.register(_ATTENTION, attend)
        ALL_MASK_ATTENTION_FUNCTIONS.register(_ATTENTION, attention_mask)
        encoder.set_attn_implementation(_ATTENTION)
