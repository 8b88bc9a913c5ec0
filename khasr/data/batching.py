"""Batches: which utterances go together, in which order, and how they are padded."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from khasr.data.audio import SAMPLE_RATE

# The shortest utterance of an evaluation batch, as a share of its longest: padding is about half of what is left.
_LEAST_OF_LONGEST = 0.93


class Example(NamedTuple):
    """One utterance, ready: a standardised waveform and its label ids."""

    id: str
    reference: str
    waveform: Tensor
    targets: Tensor
    speaker: str = ""


class Batch(NamedTuple):
    """Utterances padded to the longest.

    Attributes:
        waveforms: (batch, samples) float32 at 16 kHz, zero-padded at the end.
        waveform_lengths: (batch,) in samples.
        targets: (batch, longest target) label ids, padded with the blank's 0.
        target_lengths: (batch,).
    """

    ids: list[str]
    speakers: list[str]
    references: list[str]
    waveforms: Tensor
    waveform_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio, padding not counted."""
        return float(self.waveform_lengths.sum()) / SAMPLE_RATE


def collate(examples: Sequence[Example]) -> Batch:
    """The batch of some examples."""
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
    """Every batch of a run, epoch after epoch, as (epoch, index) pairs; a function of the seed alone.

    The whole run is one pass of the loader: a place in the run is then one number, the count of batches behind, and
    going on from a checkpoint is starting from there.

    Each epoch leaves out the batches that do not fill a last optimizer step (at most accumulate x ranks - 1, others
    each epoch, since the order is another). On the card's 2,353 utterances that is its 73 updates an epoch.

    By audio seconds, the utterances are parted once into buckets, longest first, each of some whole batches of as many
    utterances as the bucket's longest allows; an epoch mixes within each bucket and shuffles all batches. So each epoch
    has as many batches, and no batch is left half full but the shortest utterances' last.
    """

    # Lengths are sorted within runs of this many batches, as transformers' group_by_length has it: longer runs pad
    # less, shorter ones mix more.
    _SORTED_RUN = 50
    # Batches in a bucket of like lengths: fewer pad less, more mix more; and its shortest utterance as a share of its
    # longest, where that leaves two batches.
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
        """The order of batches of utterances of these lengths (in samples), for one of several ranks.

        With batch_samples a batch has at most that many samples, padding counted, and batch_size is not used.

        With weights, an epoch has each utterance as often as its weight says, on average; each epoch draws anew.

        Raises:
            ValueError: an epoch is too short for one optimizer step, an utterance longer than batch_samples, or
                batch_samples with weights or without by_length.
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
                f"takes ({accumulate} x {ranks}). Lower data.{option} or trainer.accumulate_grad_batches."
            )
        self.batches = self.batches_per_epoch
        self.position = 0

    def set_steps(self, steps: int) -> None:
        """Makes the run that many optimizer steps long."""
        self.batches = steps * (self.batches_per_epoch // self.steps_per_epoch)

    def epoch_at(self, step: int) -> float:
        """Epochs behind after that many optimizer steps, as transformers' Trainer counts them.

        Within an epoch a step is its share of all the epoch's batches; those left out are behind at the epoch's end.
        """
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs + rest * self._step_share

    def __len__(self) -> int:
        """Batches of the whole run on this rank, those behind `position` too."""
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
            return self._of_rank([batches[i] for i in generator.permutation(len(batches))])
        order = generator.permutation(len(self._lengths))
        if self._weights is not None:
            # Systematic sampling: each weight's whole part for certain, the rest by chance, always as many in all.
            ends = np.cumsum(self._weights[order])
            ends *= max(1, round(ends[-1])) / ends[-1]
            counts = np.diff(np.floor(ends + generator.random() * (1 - 1e-9) + 1e-9), prepend=0).astype(int)
            order = generator.permutation(np.repeat(order, counts))
        if self._by_length:
            run = self._SORTED_RUN * self._batch_size
            runs = [order[i : i + run] for i in range(0, len(order), run)]
            order = np.concatenate([r[np.argsort(-self._lengths[r], kind="stable")] for r in runs])
        batches = [order[i : i + self._batch_size].tolist() for i in range(0, len(order), self._batch_size)]
        if self._by_length:
            # Else long batches would come first in each run.
            batches = [batches[i] for i in generator.permutation(len(batches))]
        return self._of_rank(batches)

    def _of_rank(self, batches: list[list[int]]) -> list[list[int]]:
        return batches[: self.batches_per_epoch * self._ranks][self._rank :: self._ranks]

    def _by_samples(self, batch_samples: int) -> list[tuple[NDArray[np.int64], int]]:
        """The buckets, longest first: their utterances, and how many make a batch."""
        longest = int(self._lengths.max())
        if longest > batch_samples:
            raise ValueError(
                f"data.batch_seconds={batch_samples / SAMPLE_RATE:g}: the longest training utterance has "
                f"{longest / SAMPLE_RATE:.1f} s. A batch has to hold one (data.max_seconds bounds them)."
            )
        if self._weights is not None or not self._by_length:
            raise ValueError(
                "data.batch_seconds goes with data.order=by_length and, in a mix, with weights of 1: else each epoch "
                "would have another count of batches."
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
    """A loader that knows its place in the run, which Lightning puts into checkpoints and gives back."""

    def __init__(self, dataset: Dataset[Example], order: TrainingOrder, num_workers: int) -> None:
        super().__init__(
            dataset,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
        )
        self.order = order
        self.behind = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.order.position = self.behind
        for batch in super().__iter__():
            # Counted when it is handed out, not when a worker fetches it ahead.
            self.behind += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The count of batches behind."""
        return {"behind": self.behind}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Starts after that many batches."""
        self.behind = state["behind"]


def evaluation_batches(lengths: Sequence[int], batch_size: int, rank: int = 0, ranks: int = 1) -> list[list[int]]:
    """Batches of all utterances, longest first, for one of several ranks; each utterance is in one of them.

    A batch ends early where the next utterance is much shorter than its longest: little of it is padding then.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batch_size = max(1, min(batch_size, len(order) // ranks))  # Lightning refuses a rank without a batch
    batches: list[list[int]] = []
    for index in order.tolist():
        begun = batches and len(batches[-1]) < batch_size
        if not begun or lengths[index] < _LEAST_OF_LONGEST * lengths[batches[-1][0]]:
            batches.append([])
        batches[-1].append(index)
    return batches[rank::ranks]
