"""Masks over time and channels (SpecAugment on hidden states, as wav2vec 2.0 fine-tunes)."""

import torch
from torch import Tensor


def draw_spans(
    lengths: Tensor, size: int, probability: float, span: int, least: int = 0, of_starts: bool = False
) -> Tensor:
    """A mask of random spans for each row, counted as transformers' `_compute_mask_indices` does, or as the paper.

    A row of length L gets `probability * L / span` spans, rounded up or down at random, at least `least`; starts are
    drawn without replacement, spans may overlap. A row shorter than a span gets none. The paper (wav2vec 2.0, sec. 3.1)
    has `probability * L` spans.

    Args:
        lengths: (batch,) valid places of each row.
        size: places in a row.
        probability: share of places that would be masked if spans did not overlap.
        span: places in a span.
        least: fewest spans in a row.
        of_starts: the probability is of a span's beginning at a place, as in the paper.

    Returns:
        (batch, size) bool, True where masked; on the device of lengths.
    """
    lengths = lengths.to(torch.float64)
    starts = (lengths - span + 1).clamp(min=0)  # places where a span may start
    wanted = probability * lengths / (1 if of_starts else span)
    wanted = (wanted + torch.rand((), device=lengths.device, dtype=torch.float64)).floor().clamp(min=least)
    if not of_starts:  # transformers' bound; the paper's spans may begin anywhere
        wanted = wanted.minimum((lengths / span).floor())
    wanted = wanted.minimum(starts)
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
