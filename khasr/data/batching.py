"""Batches: their composition, order and padding."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from khasr.data.audio import SAMPLE_RATE

# Shortest utterance of an evaluation batch relative to its longest; padding is about half of the rest.
_LEAST_OF_LONGEST = 0.93


class Example(NamedTuple):
    """One utterance for the model: a standardised waveform (samples,) and its label ids (labels,)."""

    id: str
    reference: str
    waveform: Tensor
    targets: Tensor
    speaker: str = ""


@dataclass
class Batch:
    """Utterances padded to the longest one.

    Not a tuple: DDP and FSDP copy every tensor of a tuple to the device, the lengths, too. Lightning refuses frozen
    dataclasses.

    Attributes:
        waveforms: (batch, samples) float32 at 16 kHz, zero-padded at the end.
        waveform_lengths: (batch,) in samples, always on the CPU.
        targets: (batch, longest target) label ids, padded with the blank's 0.
        target_lengths: (batch,), always on the CPU.
    """

    ids: list[str]
    speakers: list[str]
    references: list[str]
    waveforms: Tensor
    waveform_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch with waveforms and targets on a device; Lightning calls this.

        Lengths stay on the CPU: CTC needs them there, and would wait for the GPU to copy them back.
        """
        waveforms, targets = (tensor.to(device, non_blocking=True) for tensor in (self.waveforms, self.targets))
        return replace(self, waveforms=waveforms, targets=targets)

    def pin_memory(self) -> "Batch":
        """The batch with waveforms and targets in memory that a GPU copies from; the data loader calls this."""
        return replace(self, waveforms=self.waveforms.pin_memory(), targets=self.targets.pin_memory())

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio, without padding."""
        return float(self.waveform_lengths.sum()) / SAMPLE_RATE


def collate(examples: Sequence[Example]) -> Batch:
    """The examples as one batch."""
    pad = torch.nn.utils.rnn.pad_sequence
    return Batch(
        ids=[e.id for e in examples],
        speakers=[e.speaker for e in examples],
        references=[e.reference for e in examples],
        waveforms=pad([e.waveform for e in examples], batch_first=True),
        waveform_lengths=torch.tensor([len(e.waveform) for e in examples]),
        targets=pad([e.targets for e in examples], batch_first=True),
        target_lengths=torch.tensor([len(e.targets) for e in examples]),
    )


class TrainingOrder(Sampler[list[tuple[int, int]]]):
    """Every batch of a run, epoch after epoch, as lists of (epoch, index); determined by the seed.

    The whole run is one pass over the loader, so the position in a run is a single number, the number of batches seen,
    and a resumed run starts at that number.

    Each epoch drops the batches that do not fill its last optimizer step (at most accumulate x ranks - 1, different
    ones in each epoch). For the card's 2,353 utterances this gives its 73 optimizer steps per epoch.

    With batch_samples, the utterances are divided once into buckets, longest first. Each bucket holds whole batches of
    as many utterances as its longest one allows. An epoch shuffles within each bucket and then shuffles all batches. So
    every epoch has the same number of batches, and only the batch of the shortest utterances may be partly filled.

    On several ranks, batches of similar lengths are in the same place of each rank's order, because the ranks wait for
    the slowest at each optimizer step (experiments/waiting).
    """

    # Lengths are sorted within groups of this many batches, as in transformers' group_by_length: larger groups need
    # less padding, smaller ones shuffle more.
    _SORTED_RUN = 50
    # Batches in a bucket of similar lengths (fewer need less padding, more shuffle more), and the shortest utterance of
    # a bucket relative to its longest, if that leaves two batches.
    _BUCKET, _ALIKE = 8, 0.9

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        by_length: bool,
        seed: int,
        accumulate: int = 1,
        rank: int = 0,
        ranks: int = 1,
        weights: Sequence[float] | None = None,
        batch_samples: int | None = None,
    ) -> None:
        """The order of batches for one of several ranks.

        Args:
            lengths: of the utterances, in samples.
            weights: mean number of times an epoch contains each utterance, drawn anew in each epoch.
            batch_samples: most samples in a batch, padding included; batch_size is then ignored.

        Raises:
            ValueError: an epoch is too short for one optimizer step, an utterance is longer than batch_samples, or
                batch_samples is combined with weights or with by_length=False.
        """
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._by_length = by_length
        self._seed = seed
        self._rank, self._ranks = rank, ranks
        self._weights = None if weights is None or all(w == 1 for w in weights) else np.asarray(weights, dtype=float)
        in_epoch = len(lengths) if self._weights is None else max(1, round(self._weights.sum()))
        self._buckets: list[tuple[NDArray[np.int64], int]] = []
        if batch_samples is not None:
            self._buckets = self._by_samples(batch_samples)
            batches = sum(math.ceil(len(members) / size) for members, size in self._buckets)
        else:
            batches = math.ceil(in_epoch / batch_size)
        self.steps_per_epoch = batches // (accumulate * ranks)
        self._step_share = accumulate * ranks / batches
        self.batches_per_epoch = self.steps_per_epoch * accumulate
        if self.steps_per_epoch == 0:
            of, option = f"{batch_size}", "batch_size"
            if batch_samples is not None:
                of, option = f"{batch_samples / SAMPLE_RATE:g} s", "batch_seconds"
            raise ValueError(
                f"{len(lengths)} training utterances make {batches} batches of {of}, fewer than one optimizer step "
                f"needs ({accumulate} x {ranks}). Lower data.{option} or trainer.accumulate_grad_batches."
            )
        self.batches = self.batches_per_epoch
        self.position = 0

    def set_steps(self, steps: int) -> None:
        """Sets the length of the run in optimizer steps."""
        self.batches = steps * (self.batches_per_epoch // self.steps_per_epoch)

    def epoch_at(self, step: int) -> float:
        """Epochs completed after that many optimizer steps, counted as transformers' Trainer does.

        Within an epoch a step counts as its share of all the epoch's batches; dropped ones count at the epoch's end.
        """
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs + rest * self._step_share

    def __len__(self) -> int:
        """Batches of the whole run on this rank, including those before `position`."""
        return self.batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for count in range(self.position, self.batches):
            epoch, place = divmod(count, self.batches_per_epoch)
            if place == 0 or count == self.position:
                order = self.epoch(epoch)
            yield [(epoch, index) for index in order[place]]

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch on this rank, as indices."""
        generator = np.random.default_rng([self._seed, epoch])
        if self._buckets:
            batches = [
                mixed[i : i + size].tolist()
                for members, size in self._buckets
                for mixed in [generator.permutation(members)]
                for i in range(0, len(mixed), size)
            ]
            return self._of_rank(self._shuffled(batches, generator))
        order = generator.permutation(len(self._lengths))
        if self._weights is not None:
            # Systematic sampling: the integer part of each weight is certain, the rest random, the total constant.
            ends = np.cumsum(self._weights[order])
            ends *= max(1, round(ends[-1])) / ends[-1]
            counts = np.diff(np.floor(ends + generator.random() * (1 - 1e-9) + 1e-9), prepend=0).astype(int)
            order = generator.permutation(np.repeat(order, counts))
        if self._by_length:
            run = self._SORTED_RUN * self._batch_size * self._ranks
            runs = [order[i : i + run] for i in range(0, len(order), run)]
            order = np.concatenate([r[np.argsort(-self._lengths[r], kind="stable")] for r in runs])
        batches = [order[i : i + self._batch_size].tolist() for i in range(0, len(order), self._batch_size)]
        if self._by_length:
            # Otherwise long batches would come first in each sorted group.
            batches = self._shuffled(batches, generator)
        return self._of_rank(batches)

    def _shuffled(self, batches: list[list[int]], generator: np.random.Generator) -> list[list[int]]:
        """Batches, sorted by length, in random order, with those that the ranks compute at the same time together.

        Which batches are dropped at the end of the epoch is random, too.
        """
        dropped = len(batches) % self._ranks
        if dropped:
            left_out = set(generator.choice(len(batches), dropped, replace=False).tolist())
            batches = [batch for at, batch in enumerate(batches) if at not in left_out]
        groups = [batches[i : i + self._ranks] for i in range(0, len(batches), self._ranks)]
        return [batch for at in generator.permutation(len(groups)) for batch in groups[at]]

    def _of_rank(self, batches: list[list[int]]) -> list[list[int]]:
        return batches[: self.batches_per_epoch * self._ranks][self._rank :: self._ranks]

    def _by_samples(self, batch_samples: int) -> list[tuple[NDArray[np.int64], int]]:
        """The buckets, longest first: their utterances, and the number of utterances per batch."""
        longest = int(self._lengths.max())
        if longest > batch_samples:
            raise ValueError(
                f"data.batch_seconds={batch_samples / SAMPLE_RATE:g}: the longest training utterance has "
                f"{longest / SAMPLE_RATE:.1f} s and must fit into a batch. Raise data.batch_seconds or lower "
                "data.max_seconds."
            )
        if self._weights is not None or not self._by_length:
            raise ValueError(
                "data.batch_seconds requires data.order=by_length and, in a mix, weights of 1: otherwise the number of "
                "batches would differ between epochs."
            )
        order = np.argsort(-self._lengths, kind="stable")
        buckets, begin = [], 0
        while begin < len(order):
            size = int(batch_samples // self._lengths[order[begin]])
            alike = int((self._lengths[order[begin:]] >= self._ALIKE * self._lengths[order[begin]]).sum())
            count = min(self._BUCKET, max(2, alike // size)) * size
            buckets.append((order[begin : begin + count], size))
            begin += count
        return buckets


class TrainingLoader(DataLoader[Any]):
    """A loader with its position in the run, which Lightning saves in checkpoints and restores."""

    # Of a run on a GPU; not measured on one (experiments/speed/loading.py measures what a process loads).
    _WORKERS = 2

    def __init__(
        self, dataset: Dataset[Example], order: TrainingOrder, num_workers: int | None, on_gpu: bool = False
    ) -> None:
        if num_workers is None:
            num_workers = min(self._WORKERS, os.cpu_count() or 1) if on_gpu else 0
        super().__init__(
            dataset,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=num_workers,
            pin_memory=on_gpu,
        )
        self.order = order
        self.batches_seen = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.order.position = self.batches_seen
        for batch in super().__iter__():
            # Counted when it is yielded, not when a worker prefetches it.
            self.batches_seen += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The number of batches seen, under the key that every khasr checkpoint has."""
        return {"behind": self.batches_seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues after that many batches."""
        self.batches_seen = state["behind"]


def evaluation_batches(lengths: Sequence[int], batch_size: int, rank: int = 0, ranks: int = 1) -> list[list[int]]:
    """Batches of all utterances, longest first, for one of several ranks; each utterance occurs once.

    A batch ends early if the next utterance is much shorter than its longest one, to limit padding. All ranks have the
    same number of batches: with fsdp each forward pass needs all of them.

    Raises:
        ValueError: fewer utterances than ranks.
    """
    if len(lengths) < ranks:
        raise ValueError(
            f"{len(lengths)} utterances to evaluate on {ranks} devices, of which each needs at least one. Use fewer "
            "devices (trainer.devices) or a larger val part (data.val_share)."
        )
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batch_size = max(1, min(batch_size, len(order) // ranks))
    batches: list[list[int]] = []
    for index in order.tolist():
        begun = batches and len(batches[-1]) < batch_size
        if not begun or lengths[index] < _LEAST_OF_LONGEST * lengths[batches[-1][0]]:
            batches.append([])
        batches[-1].append(index)
    _make_divisible(batches, ranks, len(order))
    return batches[rank::ranks]


def _make_divisible(batches: list[list[int]], ranks: int, utterances: int) -> None:
    """Halves the largest batches until all ranks have as many; or joins the shortest, if there are too few."""
    wanted = -(-len(batches) // ranks) * ranks
    if wanted > utterances:  # single utterances, nearly all of them
        wanted -= ranks
        batches[wanted - 1 :] = [[index for batch in batches[wanted - 1 :] for index in batch]]
    while len(batches) < wanted:
        place = max(range(len(batches)), key=lambda at: len(batches[at]))
        half = len(batches[place]) // 2
        batches[place : place + 1] = [batches[place][:half], batches[place][half:]]
