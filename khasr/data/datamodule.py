"""The LightningDataModule: a corpus, normalised, split, encoded and batched."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from khasr.config import DataConfig
from khasr.data.audio import SAMPLE_RATE
from khasr.data.audio_cache import load_audio
from khasr.data.batching import TrainingLoader, TrainingOrder, collate, evaluation_batches
from khasr.data.corpora import Fault, read_corpus
from khasr.data.corpora.files import cache_folder
from khasr.data.corpora.mix import Member, corpora_of
from khasr.data.parts import Part, PartDataset
from khasr.data.splits import PARTS, Row, check_parts, describe_own, is_manifest, read_manifest, resolve_auto, split
from khasr.data.subset import Spoken, nested_subset
from khasr.text.counting import counted
from khasr.text.normalise import check_text_options, transcript
from khasr.text.terminal import printable
from khasr.text.vocabulary import Vocabulary, describe_symbol

# Receptive field of wav2vec 2.0's feature encoder: the samples that one frame needs.
_LEAST_SAMPLES = 400


class CorpusDataModule(pl.LightningDataModule):
    """A corpus for Lightning.

    `prepare` reads and splits the corpus. The vocabulary is that of the training part unless `use_vocabulary` sets one.

    Attributes:
        parts: train, val and test, once `prepare` has run.
        whole: all utterances, once `prepare` has run.
        faults: utterances that were left out, with the reason.
        notes: what a user should know of how the corpus was read, a sentence each.
        unknown: for each part, the symbols missing from the vocabulary with their counts.
    """

    def __init__(self, options: DataConfig, seed: int, accumulate: int = 1, read_test: bool = False) -> None:
        """A data module of the corpus that the options name.

        Args:
            accumulate: batches per optimizer step.
            read_test: also check the test part's symbols against the vocabulary; training never looks at them.
        """
        super().__init__()
        self._read = PARTS if read_test else [part for part in PARTS if part != "test"]
        self._options = options
        self._seed = seed
        self._accumulate = accumulate
        self.parts: dict[str, Part] = {}
        self.whole: Part | None = None
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.unknown: dict[str, Counter[str]] = {}
        self._vocabulary: Vocabulary | None = None
        self._steps: int | None = None

    def prepare(self, progress: bool = True, needed: Sequence[str] = PARTS) -> None:
        """Reads the corpus, or its cache, and splits it into `parts`.

        Args:
            needed: parts that may not be empty; if there are none, the corpus is not split.

        Raises:
            ValueError: a faulty utterance with data.on_error=raise, or too few utterances for the parts.
            FileNotFoundError: the corpus does not exist.
        """
        tables, texts, weights, members = [], [], [], []
        for member in corpora_of(self._options):
            table, its_texts = self._load(member, progress)
            tables.append(table)
            texts += its_texts
            weights += [member.weight] * len(its_texts)
            members += [member] * len(its_texts)
        audio = datasets.concatenate_datasets(tables) if len(tables) > 1 else tables[0]
        lengths = pc.list_value_length(_column(audio, "waveform")).to_pylist()
        ids, speakers, own_parts = (_column(audio, name).to_pylist() for name in ("id", "speaker", "own_part"))
        about = [Row(*of) for of in zip(ids, speakers, texts, own_parts, strict=True)]
        row_of = {id_: row for row, id_ in enumerate(ids)}
        self.whole = Part("all", audio.with_format("numpy"), texts, lengths, weights)
        if not needed:
            return
        split_parts = self._split(about, members)
        check_parts(split_parts, about, self._options, needed)
        self._limit_training(split_parts, about, lengths)
        for part, of_part in split_parts.items():
            self.parts[part] = self.whole.select(part, [row_of[id_] for id_ in of_part])

    def _split(self, about: Sequence[Row], members: Sequence[Member]) -> dict[str, list[str]]:
        """The ids of each part: a corpus with its own split in a mix is split by it, the others together."""
        parts: dict[str, list[str]] = {part: [] for part in PARTS}
        rows_of: dict[str, list[Row]] = {}
        for row, member in zip(about, members, strict=True):
            rows_of.setdefault(member.prefix if member.split_alone else "", []).append(row)
        alone = {member.prefix: member.options for member in members if member.split_alone}
        for prefix, rows in rows_of.items():
            options = alone.get(prefix, self._options)
            own = [replace(row, id=row.id.removeprefix(prefix)) for row in rows]
            found = split(own, options, needed=())
            for part, ids in found.items():
                parts[part] += [prefix + id_ for id_ in ids]
            for note in describe_own(own, found, options):
                self._note(note)
            named = {id_ for ids in found.values() for id_ in ids}
            reason = f"in no part of data.split={resolve_auto(options.split, own)}"
            self.faults += [
                Fault(prefix + row.id, reason, f"{prefix}{row.id} is {reason}") for row in own if row.id not in named
            ]
            if is_manifest(options.split):
                missing = read_manifest(Path(options.split).expanduser()).keys() - {row.id for row in own}
                if missing:
                    self._note(
                        f"data.split={options.split} names {counted(len(missing), 'utterance')} that the corpus does "
                        f"not have, or that were left out (the first is {printable(min(missing), 80)})."
                    )
        return parts

    def _limit_training(self, parts: dict[str, list[str]], about: Sequence[Row], lengths: Sequence[int]) -> None:
        """Shortens the training part to data.train_hours."""
        options = self._options
        if options.train_hours is None:
            return
        members = set(parts["train"])
        spoken = [
            Spoken(row.id, row.speaker, samples / SAMPLE_RATE)
            for row, samples in zip(about, lengths, strict=True)
            if row.id in members
        ]
        seed = self._seed if options.subset_seed is None else options.subset_seed
        chosen = nested_subset(spoken, options.train_hours, seed)
        beyond = [id_ for id_ in parts["train"] if id_ not in chosen]
        parts["train"] = [id_ for id_ in parts["train"] if id_ in chosen]
        reason = f"beyond data.train_hours={options.train_hours:g}"
        self.faults += [Fault(id_, reason, f"{id_} is {reason}") for id_ in beyond]

    def _note(self, note: str) -> None:
        self.notes.append(note)
        print(f"Note: {printable(note)}", file=sys.stderr)

    def _load(self, member: Member, progress: bool) -> tuple[datasets.Dataset, list[str]]:
        """The usable utterances of a corpus, with its name as a column, and their normalised texts."""
        options = member.options
        corpus = read_corpus(options)
        for note in corpus.notes:
            self._note(note)
        total = len(corpus.utterances) + len(corpus.faults)
        self._refuse(corpus.faults, total)
        audio, faults = load_audio(corpus, cache_folder(options), progress)
        lengths = pc.list_value_length(_column(audio, "waveform")).to_pylist()
        ids = _column(audio, "id").to_pylist()
        raw = _column(audio, "text").to_pylist()
        check_text_options(options.text, raw)
        texts = [transcript(text, options.text) for text in raw]
        usable = []
        for row, (id_, samples, text) in enumerate(zip(ids, lengths, texts, strict=True)):
            seconds = samples / SAMPLE_RATE
            if samples < max(_LEAST_SAMPLES, options.min_seconds * SAMPLE_RATE):
                least = max(_LEAST_SAMPLES / SAMPLE_RATE, options.min_seconds)
                detail = f"{id_} is {seconds:.3f} s long; the minimum is {least:g} s (data.min_seconds)"
                faults.append(Fault(id_, "too short", detail))
            elif seconds > options.max_seconds:
                detail = f"{id_} is {seconds:.1f} s long; the maximum is {options.max_seconds:g} s (data.max_seconds)"
                faults.append(Fault(id_, "too long", detail))
            elif not text:
                shown = printable(_column(audio, "text")[row].as_py(), 80)
                detail = f"{id_}: its text is empty after normalisation (data.text): {shown!r}"
                faults.append(Fault(id_, "no text", detail))
            else:
                usable.append(row)
        self.faults += faults
        self._refuse(faults, total)
        if member.prefix:
            speakers = _column(audio, "speaker").to_pylist()
            audio = audio.remove_columns(["id", "speaker"])
            audio = audio.add_column("id", [member.prefix + id_ for id_ in ids])
            audio = audio.add_column("speaker", [speaker and member.prefix + speaker for speaker in speakers])
        audio = audio.add_column("corpus", [corpus.name] * len(ids))
        if len(usable) < len(ids):
            audio = audio.select(usable)
        return audio, [texts[row] for row in usable]

    def _refuse(self, faults: list[Fault], total: int) -> None:
        if faults and self._options.on_error == "raise":
            same = sum(fault.reason == faults[0].reason for fault in faults)
            raise ValueError(
                f"{faults[0].detail}. {len(faults):,} of {counted(total, 'utterance')} cannot be used, {same:,} of "
                "them for this reason. data.on_error=skip leaves them out and reports their number."
            )

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the training part, or the one passed to `use_vocabulary`."""
        if self._vocabulary is None:
            self.use_vocabulary(Vocabulary.of_texts(self.parts["train"].texts, self._options.text.units))
        assert self._vocabulary is not None
        return self._vocabulary

    def use_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Sets the vocabulary, and counts for each part the symbols missing from it.

        Raises:
            ValueError: a symbol is missing in train, or in another part with data.text.unknown_symbols=raise.
        """
        for name in self._read:
            part = self.parts[name]
            lacking: Counter[str] = Counter()
            for index, text in enumerate(part.texts):
                unknown = vocabulary.unknown(text)
                if unknown and (name == "train" or self._options.text.unknown_symbols == "raise"):
                    symbol = next(iter(unknown))
                    raise ValueError(
                        f"{name} utterance {part.audio[index]['id']} contains {describe_symbol(symbol)}, which is not "
                        f"in the vocabulary of {len(vocabulary)} symbols. "
                        + (
                            "model.head=new makes a head for the symbols of the training part."
                            if name == "train"
                            else "data.text.unknown_symbols=map maps such symbols to <unk> and counts them."
                        )
                    )
                lacking.update(unknown)
            self.unknown[name] = lacking
        self._vocabulary = vocabulary

    def training_order(self, rank: int = 0, ranks: int = 1) -> TrainingOrder:
        """The order of training batches on one of several ranks."""
        options = self._options
        return TrainingOrder(
            self.parts["train"].lengths,
            options.batch_size,
            by_length=options.order == "by_length",
            seed=self._seed if options.order_seed is None else options.order_seed,
            accumulate=self._accumulate,
            rank=rank,
            ranks=ranks,
            weights=self.parts["train"].weights,
            batch_samples=None if options.batch_seconds is None else round(options.batch_seconds * SAMPLE_RATE),
        )

    def set_steps(self, steps: int) -> None:
        """Sets the length of training in optimizer steps."""
        self._steps = steps

    def train_dataloader(self) -> TrainingLoader:
        """All training batches of the run, as one pass."""
        order = self.training_order(*self._rank())
        if self._steps is not None:
            order.set_steps(self._steps)
        dataset = PartDataset(self.parts["train"], self.vocabulary, self._options, self._seed)
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return TrainingLoader(dataset, order, self._options.num_workers, on_gpu)

    def val_dataloader(self) -> DataLoader[Any]:
        """The val part, longest first."""
        return self.evaluation_loader("val")

    def evaluation_loader(self, part: str, whole: bool = False) -> DataLoader[Any]:
        """A part's utterances, each once, longest first: this rank's share, or with `whole` all of them."""
        rank, ranks = (0, 1) if whole else self._rank()
        batches = evaluation_batches(self.parts[part].lengths, self._options.eval_batch_size, rank, ranks)
        dataset = PartDataset(self.parts[part], self.vocabulary, self._options)
        return DataLoader(dataset, batch_sampler=batches, collate_fn=collate)

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def _column(audio: datasets.Dataset, name: str) -> pa.ChunkedArray:
    """A column as an Arrow array, of the selected rows if the dataset is a selection; much faster than indexing."""
    table = audio.select_columns([name])
    return (table.flatten_indices() if table._indices is not None else table).data.column(name)


def read_parts(options: DataConfig, seed: int, needed: Sequence[str] = PARTS) -> dict[str, Part]:
    """The parts of a corpus by name, and all of its utterances as `all`, whether or not they are in a part.

    Args:
        needed: parts that may not be empty. Without any, the corpus is not split and only `all` is returned: a corpus
            may be a test set only.
    """
    data = CorpusDataModule(options, seed, read_test=True)
    data.prepare(progress=False, needed=needed)
    assert data.whole is not None
    return data.parts | {"all": data.whole}
