"""A trained model, ready to be scored: a khasr run's or a Hugging Face folder's, and what it hears."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from khasr.config import DataConfig, ModelConfig, TextConfig, to_plain
from khasr.data.audio import SAMPLE_RATE
from khasr.data.batching import Batch, collate, evaluation_batches
from khasr.data.parts import Part, PartDataset
from khasr.decoding.decoder import Decoder
from khasr.model.allocator import set_allocator
from khasr.model.ctc import CtcModel
from khasr.model.weights import build_model, load_start
from khasr.run.folder import BEST, LAST, read_config
from khasr.scoring.hypotheses import Hypothesis
from khasr.text.vocabulary import Vocabulary


@dataclass
class Recogniser:
    """A model in evaluation mode with what it says.

    Attributes:
        weights: the file or folder that its weights came from.
        text: how its transcripts were written; None where a Hugging Face folder does not tell.
    """

    model: CtcModel
    vocabulary: Vocabulary
    weights: Path
    text: TextConfig | None

    @property
    def identity(self) -> list[str | int]:
        """What tells it from another: its weights' place, size and time of change."""
        files = [self.weights] if self.weights.is_file() else sorted(self.weights.glob("*.safetensors"))
        return [x for f in files for x in (str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns)]

    def log_probs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> list[NDArray[np.float32]]:
        """Log-probabilities of each of a batch, (frames, vocab) float32."""
        parameter = next(self.model.parameters())
        with torch.inference_mode():
            found, frames = self.model(waveforms.to(parameter.device, parameter.dtype), lengths.to(parameter.device))
        return [row[:count].float().cpu().numpy() for row, count in zip(found, frames.tolist(), strict=True)]


@dataclass
class Recognised:
    """A part's utterances with their log-probabilities, in the corpus's order.

    Attributes:
        log_probs: (frames, vocab) each.
    """

    ids: list[str]
    references: list[str]
    speakers: list[str]
    seconds: list[float]
    log_probs: list[NDArray[np.float32]]


def check_there(run: str) -> Path:
    """The path that a run or Hugging Face model is named by; an id of the hub, USER/NAME, is left to be looked up.

    Raises:
        FileNotFoundError: what can only be a path is no folder.
    """
    path = Path(run).expanduser()
    if not path.is_dir() and (path.is_absolute() or run.startswith(".") or run.count("/") != 1):
        raise FileNotFoundError(
            f"run={run} is not there; expected the folder of a run, as `python -m khasr.train` prints it, or of a "
            "Hugging Face CTC model."
        )
    return path


def load_recogniser(folder: str) -> Recogniser:
    """The model in a khasr run's folder (its best checkpoint, else its last), or of a Hugging Face CTC folder or id.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: weights without a CTC head and its vocabulary.
    """
    path = check_there(folder)
    is_run = (path / BEST).is_file() or (path / LAST).is_file()
    text = None
    if is_run:
        config = read_config(path)
        options, text = config.model, config.data.text
        options.checkpoint = str(path)
        weights = path / BEST if (path / BEST).is_file() else path / LAST
    elif path.is_dir() and not (path / "config.json").is_file():
        raise FileNotFoundError(
            f"run={folder} holds neither checkpoints/best.ckpt (a khasr run that has validated once) nor config.json "
            "(a Hugging Face model)."
        )
    else:
        options, weights = ModelConfig(name=path.name, checkpoint=folder), path
    start = load_start(options)
    if start.vocabulary is None:
        raise ValueError(
            f"run={folder} has no CTC head with its vocabulary; expected a model that was fine-tuned with CTC."
        )
    model, vocabulary, _ = build_model(start, start.vocabulary, options, "keep")
    set_allocator(model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return Recogniser(model.eval(), vocabulary, weights, text)


def recognise_part(
    recogniser: Recogniser, part: Part, options: DataConfig, keep_in: Path | None = None, progress: bool = True
) -> Recognised:
    """The log-probabilities of a part's utterances; computed once and kept where there is a folder to keep them in."""
    speakers = [str(s) for s in part.audio["speaker"]]
    ids = [str(i) for i in part.audio["id"]]
    seconds = [n / SAMPLE_RATE for n in part.lengths]
    described = [recogniser.identity, to_plain(options.text), ids, part.lengths, recogniser.vocabulary.symbols]
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    kept = keep_in / f"log_probs-{part.name}-{digest}.npz" if keep_in is not None else None
    if kept is None or not kept.is_file():
        rows = _compute(recogniser, part, options, progress)
        packed = {"rows": np.concatenate(rows), "frames": np.array([len(r) for r in rows])}
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_name(f".{kept.name}.partial.npz")
            np.savez(partial, **packed)
            partial.replace(kept)
    else:
        packed = dict(np.load(kept))
    ends = np.cumsum(packed["frames"])
    log_probs = np.split(packed["rows"], ends[:-1])
    return Recognised(ids, list(part.texts), speakers, seconds, log_probs)


def _compute(recogniser: Recogniser, part: Part, options: DataConfig, progress: bool) -> list[NDArray[np.float32]]:
    batches = evaluation_batches(part.lengths, options.eval_batch_size)
    dataset = PartDataset(part, recogniser.vocabulary, options)
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate)
    rows: list[NDArray[np.float32] | None] = [None] * len(part)
    bar = tqdm(zip(batches, loader, strict=True), f"log-probabilities of {part.name}", len(batches), unit=" batches",
        leave=False, disable=None if progress else True)  # fmt: skip
    for indices, batch in bar:
        for index, row in zip(indices, recogniser.log_probs(batch.waveforms, batch.waveform_lengths), strict=True):
            rows[index] = row
    return [row for row in rows if row is not None]


def recognise(model: CtcModel, batches: Iterable[Batch], decode: Decoder) -> list[Hypothesis]:
    """The hypotheses of all utterances, by id; the model is left in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    dtype = next(model.parameters()).dtype
    hypotheses: list[Hypothesis] = []
    with torch.inference_mode():
        for batch in batches:
            waveforms, lengths = batch.waveforms.to(device, dtype), batch.waveform_lengths.to(device)
            texts = decode(*model(waveforms, lengths))
            seconds = [samples / SAMPLE_RATE for samples in batch.waveform_lengths.tolist()]
            rows = zip(batch.ids, batch.speakers, seconds, batch.references, texts, strict=True)
            hypotheses += [Hypothesis(*row) for row in rows]
    return sorted(hypotheses, key=lambda h: h.id)
