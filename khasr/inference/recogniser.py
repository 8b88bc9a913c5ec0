"""A trained model ready for inference, from a khasr run or a Hugging Face folder, and its log-probabilities."""

import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers.feature_extraction_utils import FeatureExtractionMixin

from khasr.config import DataConfig, ModelConfig, PrecisionConfig, TextConfig, to_plain
from khasr.data.audio import SAMPLE_RATE
from khasr.data.batching import Batch, collate, evaluation_batches
from khasr.data.parts import Part, PartDataset
from khasr.decoding.decoder import Decoder
from khasr.model.allocator import set_allocator
from khasr.model.ctc import CtcModel
from khasr.model.precision import scoring_autocast, scoring_type, set_tf32
from khasr.model.weights import build_model, load_start
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import Hypothesis
from khasr.text.vocabulary import Vocabulary


@dataclass
class Recogniser:
    """A model in evaluation mode with its vocabulary.

    Attributes:
        weights: the file or folder that the weights were read from.
        text: the text options that it was trained with; None for a Hugging Face folder.
        standardised: whether waveforms are standardised to mean 0 and variance 1 before they enter the model.
        precision: in which it was trained; fp32 for a Hugging Face folder. Used on GPUs.
    """

    model: CtcModel
    vocabulary: Vocabulary
    weights: Path
    text: TextConfig | None
    standardised: bool = True
    precision: str = "fp32"

    @property
    def identity(self) -> list[str | int]:
        """Cache key: path, size and mtime of the weights."""
        files = [self.weights] if self.weights.is_file() else sorted(self.weights.glob("*.safetensors"))
        return [x for f in files for x in (str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns)]

    def log_probs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> list[NDArray[np.float32]]:
        """Log-probabilities of each utterance of a batch, (frames, vocab).

        Args:
            waveforms: (batch, samples) at 16 kHz, standardised if the model expects it (`standardised`).
            lengths: (batch,) in samples.
        """
        parameter = next(self.model.parameters())
        with torch.inference_mode(), scoring_autocast(parameter.device, self.precision):
            found, frames = self.model(waveforms.to(parameter.device, parameter.dtype), lengths.to(parameter.device))
        return [row[:count].float().cpu().numpy() for row, count in zip(found, frames.tolist(), strict=True)]


@dataclass
class PartLogProbs:
    """The utterances of a part with their log-probabilities, in the order of the corpus.

    Attributes:
        seconds: durations.
        log_probs: (frames, vocab) of each utterance.
    """

    ids: list[str]
    references: list[str]
    speakers: list[str]
    seconds: list[float]
    log_probs: list[NDArray[np.float32]]

    def hypotheses(self, texts: Iterable[str]) -> list[Hypothesis]:
        """The utterances with their decoded texts."""
        rows = zip(self.ids, self.speakers, self.seconds, self.references, texts, strict=True)
        return [Hypothesis(*row) for row in rows]


def resolve_run(run: str) -> Path:
    """The path of `run=`: a folder, or the id of a model on the Hugging Face hub (USER/NAME), which is not looked up.

    Raises:
        FileNotFoundError: it is not a folder and cannot be an id.
    """
    path = Path(run).expanduser()
    if not path.is_dir() and (path.is_absolute() or run.startswith(".") or run.count("/") != 1):
        raise FileNotFoundError(
            f"run={run} does not exist. Expected the folder of a run, as printed by `python -m khasr.train`, or of a "
            "Hugging Face CTC model."
        )
    return path


def load_recogniser(run: str) -> Recogniser:
    """Loads a khasr run (its best checkpoint, or its last if it has no best), or a Hugging Face CTC model.

    Raises:
        FileNotFoundError: no weights.
        ValueError: weights without a CTC head and its vocabulary.
    """
    path = resolve_run(run)
    text, standardised, precision = None, True, PrecisionConfig(name="fp32")
    run_folder = RunFolder(path)
    if run_folder.weights is not None:
        config = run_folder.read_config()
        options, text, precision = config.model, config.data.text, config.precision
        options.checkpoint, weights = str(path), run_folder.weights
        if weights != run_folder.best:
            print(f"Note: {run_folder.best} does not exist; {weights.name} is used.", file=sys.stderr)
    elif path.is_dir() and not (path / "config.json").is_file():
        raise FileNotFoundError(
            f"run={run} contains neither checkpoints/best.ckpt (written by the first validation of a khasr run) nor "
            "config.json (of a Hugging Face model)."
        )
    else:
        options, weights = ModelConfig(name=path.name, checkpoint=run), path
        standardised = _expects_standardised(path, run)
    start = load_start(options)
    if start.vocabulary is None:
        raise ValueError(f"run={run} has no CTC head with a vocabulary. Expected a model fine-tuned with CTC.")
    model, vocabulary, _ = build_model(start, start.vocabulary, options, "keep")
    set_allocator(model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    set_tf32(precision)
    return Recogniser(model.eval(), vocabulary, weights, text, standardised, precision.name)


def _expects_standardised(path: Path, run: str) -> bool:
    """`do_normalize` of a Hugging Face model's preprocessor; true, as its default is, if it has none."""
    try:
        found, _ = FeatureExtractionMixin.get_feature_extractor_dict(str(path) if path.is_dir() else run)
    except (OSError, ValueError, TypeError) as error:
        if any((path / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
            reason = " ".join(str(error).split())
            raise ValueError(f"run={run}: its preprocessor_config.json cannot be read ({reason}).") from error
        return True
    return bool(found.get("do_normalize", True))


def recognise_part(
    recogniser: Recogniser, part: Part, options: DataConfig, cache: Path | None = None, progress: bool = True
) -> PartLogProbs:
    """The log-probabilities of a part.

    Args:
        cache: folder that they are read from if they are there, and written to otherwise; None: no cache.
        progress: show a progress bar.
    """
    speakers = [str(s) for s in part.audio["speaker"]]
    ids = [str(i) for i in part.audio["id"]]
    seconds = [n / SAMPLE_RATE for n in part.lengths]
    key = [recogniser.identity, to_plain(options.text), ids, part.lengths, recogniser.vocabulary.symbols]
    key += [] if recogniser.standardised else ["as recorded"]
    device = next(recogniser.model.parameters()).device
    key += [] if scoring_type(device, recogniser.precision) is None else [recogniser.precision]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    file = cache / f"log_probs-{part.name}-{digest}.npz" if cache is not None else None
    log_probs = None if file is None else _read_cache(file, len(ids), len(recogniser.vocabulary))
    if log_probs is None:
        log_probs = _compute(recogniser, part, options, progress)
        if file is not None:
            _write_cache(file, log_probs)
    return PartLogProbs(ids, list(part.texts), speakers, seconds, log_probs)


def _read_cache(file: Path, utterances: int, symbols: int) -> list[NDArray[np.float32]] | None:
    """The log-probabilities in a file; None if it does not exist or is damaged, which is reported."""
    if not file.is_file():
        return None
    try:
        with np.load(file) as packed:
            rows, frames = packed["rows"], packed["frames"]
        if frames.shape != (utterances,) or rows.shape != (frames.sum(), symbols) or rows.dtype != np.float32:
            raise ValueError(f"frames {frames.shape} and rows {rows.shape} {rows.dtype} do not fit the part")
    except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        print(f"{file} is damaged ({error}); the log-probabilities are computed again.", file=sys.stderr)
        return None
    return np.split(rows, np.cumsum(frames)[:-1])


def _write_cache(file: Path, log_probs: list[NDArray[np.float32]]) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial.npz")  # others may write the same
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, rows=np.concatenate(log_probs), frames=np.array([len(rows) for rows in log_probs]))
        partial.replace(file)
    except OSError as error:  # a read-only or full disk: the evaluation does not depend on the cache
        print(f"The log-probabilities are not cached: {error}", file=sys.stderr)


def _compute(recogniser: Recogniser, part: Part, options: DataConfig, progress: bool) -> list[NDArray[np.float32]]:
    batches = evaluation_batches(part.lengths, options.eval_batch_size)
    dataset = PartDataset(part, recogniser.vocabulary, options, standardised=recogniser.standardised)
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate)
    rows: list[NDArray[np.float32] | None] = [None] * len(part)
    bar = tqdm(zip(batches, loader, strict=True), f"log-probabilities of {part.name}", len(batches), unit=" batches",
        leave=False, disable=None if progress else True)  # fmt: skip
    for indices, batch in bar:
        for index, row in zip(indices, recogniser.log_probs(batch.waveforms, batch.waveform_lengths), strict=True):
            rows[index] = row
    return [row for row in rows if row is not None]


def recognise(model: CtcModel, batches: Iterable[Batch], decode: Decoder, precision: str = "fp32") -> list[Hypothesis]:
    """The hypotheses of all utterances, sorted by id. Leaves the model in evaluation mode.

    Args:
        precision: of training, which is used on GPUs.
    """
    model.eval()
    device = next(model.parameters()).device
    dtype = next(model.parameters()).dtype
    hypotheses: list[Hypothesis] = []
    with torch.inference_mode():
        for batch in batches:
            waveforms, lengths = batch.waveforms.to(device, dtype), batch.waveform_lengths.to(device)
            with scoring_autocast(device, precision):
                log_probs, frame_lengths = model(waveforms, lengths)
            texts = decode(log_probs, frame_lengths)
            seconds = [samples / SAMPLE_RATE for samples in batch.waveform_lengths.tolist()]
            rows = zip(batch.ids, batch.speakers, seconds, batch.references, texts, strict=True)
            hypotheses += [Hypothesis(*row) for row in rows]
    return sorted(hypotheses, key=lambda h: h.id)
