"""Sums of measurements since the last row of training metrics."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from khasr.training.ranks import sum_over_ranks

# What the CPU knows without waiting for the device: added to numbers.
COUNTED = ("batches", "frames", "steps", "audio_seconds", "padded_seconds")
# Of a batch and of an optimizer step: added to tensors on the device.
_OF_BATCH = ("loss", "blank_frames")
_OF_STEP = ("lr", "finite_steps", "grad_norm")


class Window:
    """Sums since the last row: of the loss, blank frames, gradient norms, steps, and seconds of audio.

    What is computed on a GPU is added there. Only reading a window waits for the GPU.
    """

    def __init__(self, parts: Sequence[str], start: Mapping[str, float] | None = None) -> None:
        """Starts from 0 or from sums that were saved.

        Args:
            parts: the parts of the model, whose gradient norms are "grad_norm/PART".
            start: what `read` returned.
        """
        self._of_step = (*_OF_STEP, *(f"grad_norm/{part}" for part in parts))
        start = start or {}
        self._counts = {name: start.get(name, 0.0) for name in COUNTED}
        names = (*_OF_BATCH, *self._of_step)
        self._sums = torch.tensor([start.get(name, 0.0) for name in names], dtype=torch.float64)
        # The number of the latest batches in a row whose loss is not finite, and the largest such number.
        self._nonfinite = torch.tensor([start.get("nonfinite", 0.0)] * 2, dtype=torch.float64)

    def add_counts(self, **counts: float) -> None:
        """Adds numbers, by name."""
        for name, count in counts.items():
            self._counts[name] += count

    def add_batch(self, loss: Tensor, blank_frames: Tensor) -> None:
        """Adds the loss of a batch and its number of blank frames, and counts losses that are not finite."""
        self._move_to(loss.device)
        self._sums[: len(_OF_BATCH)] += torch.stack([loss.double(), blank_frames.double()])
        latest = torch.where(loss.isfinite(), 0.0, self._nonfinite[0] + 1)
        self._nonfinite = torch.stack([latest, self._nonfinite[1].maximum(latest)])

    def add_step(self, lr: float, norms: Tensor) -> None:
        """Adds an optimizer step; one whose gradient is not finite is skipped, and only counted.

        Args:
            norms: (1 + parts,), the norms of the gradient and of its parts.
        """
        self._move_to(norms.device)
        self._counts["steps"] += 1
        finite, norms = norms[0].isfinite(), norms.double()
        step = torch.cat([norms.new_full((1,), lr), norms.new_ones(1), norms])  # filled there: a copy would wait
        self._sums[len(_OF_BATCH) :] += torch.where(finite, step, 0.0)

    def _move_to(self, device: torch.device) -> None:
        if self._sums.device != device:
            self._sums, self._nonfinite = self._sums.to(device), self._nonfinite.to(device)

    def read(self) -> dict[str, float]:
        """The sums by name, "nonfinite" and "most_nonfinite"; waits for the device.

        Non-finite losses are counted in consecutive batches: the latest ones, and the most since the last row.
        """
        values = torch.cat([self._sums, self._nonfinite]).tolist()
        names = (*_OF_BATCH, *self._of_step, "nonfinite", "most_nonfinite")
        return self._counts | dict(zip(names, values, strict=True))

    def over_all_ranks(self) -> dict[str, float]:
        """`read`, with the sums over all ranks, all of which have to call this; "nonfinite" is that of this rank."""
        own = self.read()
        sums = {name: value for name, value in own.items() if "nonfinite" not in name}
        return own | dict(zip(sums, sum_over_ranks(list(sums.values())), strict=True))

    def clear(self) -> None:
        """Starts again from 0, after a row; batches whose loss is not finite are counted across rows."""
        self._counts = dict.fromkeys(self._counts, 0.0)
        self._sums.zero_()
        self._nonfinite = self._nonfinite[:1].repeat(2)
