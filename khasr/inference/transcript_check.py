"""Utterances ranked by how little their transcripts fit a trained model, to find wrong transcripts."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from khasr.config import DataConfig, DecoderConfig, PrepareConfig, to_plain
from khasr.data.datamodule import read_parts
from khasr.decoding.decoder import texts
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.inference.transcript_page import transcript_page
from khasr.run.folder import RunFolder, write_whole
from khasr.scoring.error_rates import character_edits
from khasr.text.counting import counted
from khasr.text.terminal import guard_cell, printable
from khasr.text.vocabulary import Vocabulary

_PARTS = ("train", "val")
"""The test part is not read."""

_PRINTED = 10


@dataclass(frozen=True)
class Checked:
    """An utterance with the fit of its transcript.

    Attributes:
        score: natural logarithm of how many times the hypothesis is more probable than the transcript, per symbol of
            the transcript; about 0 where they agree, inf if CTC cannot align the transcript with so little audio.
        loss: CTC loss of the transcript per symbol, in nats.
        cer: edits between transcript and hypothesis per symbol of the transcript.
    """

    id: str
    part: str
    speaker: str
    seconds: float
    score: float
    loss: float
    cer: float
    reference: str
    hypothesis: str


def check_transcripts(config: PrepareConfig, folder: Path) -> list[Checked]:
    """Ranks the utterances of train and val, the most suspicious first; writes transcripts.tsv and transcripts.html.

    A transcript that is hard to recognise has a high loss, whether or not it is right. The score compares it with the
    model's own hypothesis of the same audio, so that noise and fast speech count for less.

    Raises:
        FileNotFoundError, ValueError: a run or corpus that cannot be used.
    """
    assert config.run is not None
    recogniser = load_recogniser(config.run)
    options = _data_of_run(config.data, RunFolder.at(config.run))
    parts = read_parts(options, config.seed, needed=_PARTS)
    found: list[Checked] = []
    for name in _PARTS:
        recognised = recognise_part(recogniser, parts[name], options, None, config.progress_bar)
        hypotheses = texts(DecoderConfig(), recogniser.vocabulary, recognised.log_probs)
        rows = zip(
            recognised.ids, recognised.speakers, recognised.seconds, recognised.references, hypotheses,
            recognised.log_probs, strict=True,
        )  # fmt: skip
        for id_, speaker, seconds, reference, hypothesis, log_probs in rows:
            score, loss = fit(reference, hypothesis, log_probs, recogniser.vocabulary)
            edits = character_edits(reference, hypothesis)
            cer = edits.total / max(1, edits.units)
            found.append(Checked(id_, name, speaker, seconds, score, loss, cer, reference, hypothesis))
    found.sort(key=lambda c: (-c.score, c.id))
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "transcripts.html", folder / "transcripts.tsv"]
    write_whole(written[1], _table(found))
    write_whole(written[0], transcript_page(found, config.run, {"data": to_plain(options)}, config.shown))
    for line in _report(found, written):
        print(printable(line))
    return found


def fit(reference: str, hypothesis: str, log_probs: NDArray[np.float32], vocabulary: Vocabulary) -> tuple[float, float]:
    """The score of a transcript and its loss per symbol, as in `Checked`.

    Args:
        log_probs: (frames, vocab), blank first.
    """
    of_reference, of_hypothesis = (_loss(text, log_probs, vocabulary) for text in (reference, hypothesis))
    symbols = max(1, len(vocabulary.encode(reference)))
    return (of_reference - of_hypothesis) / symbols, of_reference / symbols


def _loss(text: str, log_probs: NDArray[np.float32], vocabulary: Vocabulary) -> float:
    """The CTC loss of a text: minus the logarithm of the probability of all its alignments; inf without any."""
    targets = torch.tensor([vocabulary.encode(text)], dtype=torch.long)
    rows = torch.from_numpy(log_probs)[:, None]
    lengths = torch.tensor([len(log_probs)]), torch.tensor([targets.shape[1]])
    return float(F.ctc_loss(rows, targets, *lengths, blank=0, reduction="sum"))


def _data_of_run(options: DataConfig, run: RunFolder) -> DataConfig:
    """The run's corpus with the parts that the run had, whatever they were drawn from."""
    if run.split.is_file():
        options.split, options.train_hours = str(run.split), None
    return options


def _table(checked: list[Checked]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar="\\")
    writer.writerow(["rank", "id", "part", "speaker", "seconds", "score", "loss", "cer", "reference", "hypothesis"])
    for rank, c in enumerate(checked, 1):
        numbers = [f"{c.seconds:.2f}", f"{c.score:.3f}", f"{c.loss:.3f}", f"{c.cer:.3f}"]
        texts_ = [printable(text) for text in (c.reference, c.hypothesis)]
        writer.writerow([rank, guard_cell(c.id), c.part, guard_cell(c.speaker), *numbers, *map(guard_cell, texts_)])
    return file.getvalue()


def _report(checked: list[Checked], written: list[Path]) -> list[str]:
    lines = [
        f"{counted(len(checked), 'utterance')} of {' and '.join(_PARTS)}. Their transcripts fit the model least:",
        "",
    ]
    for c in checked[:_PRINTED]:
        lines += [f"  {c.score:6.2f}  {c.id} ({c.part})", f"          transcript {c.reference}",
                  f"          hypothesis {c.hypothesis}"]  # fmt: skip
    lines += ["", "Score: ln(probability of the hypothesis / probability of the transcript) per symbol.", ""]
    return lines + [f"  {path}" for path in written]
