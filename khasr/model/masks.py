"""Masks over time and channels: SpecAugment on hidden states, as in the fine-tuning of wav2vec 2.0."""

import torch
from torch import Tensor


def draw_spans(
    lengths: Tensor, size: int, probability: float, span: int, least: int = 0, of_starts: bool = False
) -> Tensor:
    """A mask of random spans for each row, with the number of spans of transformers or of the paper.

    A row of length L has `probability * L / span` spans, rounded up or down at random, and at least `least`, as in
    transformers' `_compute_mask_indices`. Starts are drawn without replacement; spans may overlap. A row shorter than a
    span has none. The paper (wav2vec 2.0, sec. 3.1) has `probability * L` spans.

    Args:
        lengths: (batch,) valid positions of each row.
        size: positions in a row.
        probability: fraction of positions that would be masked if spans did not overlap.
        span: positions in a span.
        least: minimum number of spans in a row.
        of_starts: the probability is that a span starts at a position, as in the paper.

    Returns:
        (batch, size) bool, True where masked, on the device of `lengths`.
    """
    lengths = lengths.to(torch.float64)
    starts = (lengths - span + 1).clamp(min=0)  # positions where a span can start
    wanted = probability * lengths / (1 if of_starts else span)
    wanted = (wanted + torch.rand((), device=lengths.device, dtype=torch.float64)).floor().clamp(min=least)
    if not of_starts:  # the upper bound of transformers; the paper has none
        wanted = wanted.minimum((lengths / span).floor())
    wanted = wanted.minimum(starts)
    places = torch.arange(size, device=lengths.device)
    draw = torch.rand(len(lengths), size, device=lengths.device)
    draw = draw.masked_fill(places >= starts[:, None], -1.0)
    # The starts with the k highest draws, where k differs between rows.
    rank = draw.argsort(dim=1, descending=True).argsort(dim=1)
    begun = rank < wanted[:, None]
    # A position is masked if a span starts at it or at one of the span - 1 positions before it.
    count = begun.long().cumsum(dim=1)
    before = torch.nn.functional.pad(count, (span, 0))[:, :size]
    return count > before
