"""One split of a corpus: its utterances, and the examples that a model gets from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from khasr.config import DataConfig
from khasr.data.audio import SAMPLE_RATE, standardise
from khasr.data.augment import amplify, augment, join
from khasr.data.batching import Example
from khasr.text.vocabulary import Vocabulary


@dataclass
class Part:
    """Train, val or test: rows of the 16 kHz corpus with their normalised texts.

    Attributes:
        audio: columns of `audio_cache` (id, speaker, waveform and more), one row per utterance.
        lengths: of the waveforms, in samples.
        weights: mean number of times a training epoch contains each utterance; 1 outside a mix.
    """

    name: str
    audio: datasets.Dataset
    texts: list[str]
    lengths: list[int]
    weights: list[float]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, name: str, rows: Sequence[int]) -> "Part":
        """The utterances at these rows, as a part of that name."""
        return Part(
            name,
            self.audio.select(rows),
            [self.texts[r] for r in rows],
            [self.lengths[r] for r in rows],
            [self.weights[r] for r in rows],
        )

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return sum(self.lengths) / SAMPLE_RATE / 3600


class PartDataset(Dataset[Example]):
    """A part's utterances as examples.

    With a seed they are indexed by (epoch, index) and augmented differently in each epoch; without one by index.
    Without a seed, `standardised=False` gives the waveforms as recorded, for models that expect them so.
    """

    def __init__(
        self,
        part: Part,
        vocabulary: Vocabulary,
        options: DataConfig,
        seed: int | None = None,
        standardised: bool = True,
    ) -> None:
        self._part = part
        self._standardised = standardised
        self._vocabulary = vocabulary
        self._augment = options.augment
        self._seed = seed

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, at: tuple[int, int] | int) -> Example:
        epoch, index = at if isinstance(at, tuple) else (0, at)
        row = self._part.audio[index]
        waveform = row["waveform"].astype(np.float32) / 32768  # full scale at 1
        if self._seed is None:
            waveform = standardise(waveform) if self._standardised else waveform
        else:
            generator = np.random.default_rng([self._seed, epoch, index])
            waveform = amplify(standardise(augment(waveform, self._augment, generator)), self._augment, generator)
        return self._example(str(row["id"]), self._part.texts[index], waveform, str(row["speaker"]))

    def __getitems__(self, batch: list[tuple[int, int]] | list[int]) -> list[Example]:
        """The examples of one batch; in training joined according to data.augment.join."""
        examples = [self[at] for at in batch]
        counts = self._augment.join
        if self._seed is None or not counts:
            return examples
        generator = np.random.default_rng([self._seed, *np.ravel(batch)])
        count = int(generator.choice(counts))
        order = generator.permutation(len(examples))
        # Groups of equal size need the least padding.
        groups = [[examples[i] for i in some] for some in np.array_split(order, math.ceil(len(order) / count))]
        return [self._joined(group) if len(group) > 1 else group[0] for group in groups]

    def _joined(self, group: list[Example]) -> Example:
        return self._example(
            "+".join(example.id for example in group),
            self._vocabulary.between_words.join(example.reference for example in group),
            join([example.waveform.numpy() for example in group]),
        )

    def _example(self, id_: str, text: str, waveform: NDArray[np.float32], speaker: str = "") -> Example:
        targets = torch.tensor(self._vocabulary.encode(text), dtype=torch.long)
        return Example(id_, text, torch.from_numpy(waveform), targets, speaker)
