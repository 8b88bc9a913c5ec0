"""Masks over time and channels (SpecAugment on hidden states, as wav2vec 2.0 fine-tunes)."""

import torch
from torch import Tensor


def draw_spans(lengths: Tensor, size: int, probability: float, span: int, least: int = 0) -> Tensor:
    """A mask of random spans for each row, counted as transformers' `_compute_mask_indices` does.

    A row of length L gets `probability * L / span` spans, rounded up or down at random, at least `least`; starts are
    drawn without replacement, spans may overlap. A row shorter than a span gets none.

    Args:
        lengths: (batch,) valid places of each row.
        size: places in a row.
        probability: share of places that would be masked if spans did not overlap.
        span: places in a span.
        least: fewest spans in a row.

    Returns:
        (batch, size) bool, True where masked; on the device of lengths.
    """
    lengths = lengths.to(torch.float64)
    starts = (lengths - span + 1).clamp(min=0)  # places where a span may start
    wanted = (probability * lengths / span + torch.rand((), device=lengths.device, dtype=torch.float64)).floor()
    wanted = wanted.clamp(min=least).minimum((lengths / span).floor()).minimum(starts)
    places = torch.arange(size, device=lengths.device)
    draw = torch.rand(len(lengths), size, device=lengths.device)
    draw = draw.masked_fill(places >= starts[:, None], -1.0)
    # The k starts with the highest draws, k another number for each row.
    rank = draw.argsort(dim=1, descending=True).argsort(dim=1)
    begun = rank < wanted[:, None]
    # A place is masked if a span began at it or at one of the span-1 places before it.
    count = begun.long().cumsum(dim=1)
    before = torch.nn.functional.pad(count, (span, 0))[:, :size]
    return count > before
