"""An evaluation: one part of a corpus recognised by one or two runs, scored, written and printed."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from khasr.config import DecoderConfig, EvaluateConfig, to_plain
from khasr.data.audio import SAMPLE_RATE
from khasr.data.datamodule import read_parts
from khasr.data.parts import Part
from khasr.decoding.beam import check_decoder
from khasr.decoding.decoder import n_best, texts
from khasr.inference.long_audio import long_log_probs, pieces_at_pauses
from khasr.inference.recogniser import PartLogProbs, Recogniser, load_recogniser, recognise_part, resolve_run
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import Hypothesis, write_hypotheses
from khasr.scoring.report import compare, describe, format_report
from khasr.text.vocabulary import Vocabulary


def evaluate(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
    """Scores a run, writes evaluation.json and hypotheses.tsv to the folder, prints the report, returns the results.

    Raises:
        FileNotFoundError, ValueError: a run, corpus or language model that cannot be used.
    """
    check_decoder(config.decoder)
    runs = [config.run] + ([config.against] if config.against else [])
    for run in runs:
        resolve_run(run)  # both are checked before the first is recognised
    parts = read_parts(config.data, seed=0)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for run in runs:
        n_best_file = folder / "n_best.jsonl" if config.n_best and run == config.run else None
        found.append(_recognise(run, parts[config.part], config, n_best_file))
    trained = Counter(word for text in parts["train"].texts for word in text.split()) if config.part != "all" else None
    results = {"run": config.run, "data": config.data.name, "part": config.part, "decoder": to_plain(config.decoder)}
    results |= describe(found[0], trained, config.resamples)
    if config.against:
        results["against"] = {"run": config.against} | compare(found[0], found[1], config.resamples)
    written = [folder / "evaluation.json", folder / "hypotheses.tsv"]
    written[0].write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    write_hypotheses(written[1], {config.part: found[0]}, found[1] if config.against else None)
    if config.n_best and not config.join_seconds:
        written.append(folder / "n_best.jsonl")
    print(format_report(results, written))
    return results


def _recognise(run: str, part: Part, config: EvaluateConfig, n_best_file: Path | None) -> list[Hypothesis]:
    """One run's hypotheses of the part, as joined recordings where `join_seconds` is set."""
    recogniser = load_recogniser(run)
    decoder = config.decoder if run == config.run else _decoder_of(run, config)
    if config.join_seconds:
        return _recognise_joined(recogniser, part, config, decoder)
    found = recognise_part(recogniser, part, config.data, RunFolder.at(run).log_probs)
    if n_best_file is not None:
        _write_n_best(n_best_file, decoder, recogniser.vocabulary, found, config.n_best or 1)
    return found.hypotheses(texts(decoder, recogniser.vocabulary, found.log_probs))


def _decoder_of(against: str, config: EvaluateConfig) -> DecoderConfig:
    """The decoder of the second run: its own tuned one if the first run uses its own tuned one, else the first's."""
    first, second = (RunFolder.at(run).read_decoder() for run in (config.run, against))
    return second if second is not None and first == config.decoder else config.decoder


def _write_n_best(path: Path, decoder: DecoderConfig, vocabulary: Vocabulary, found: PartLogProbs, most: int) -> None:
    decode = n_best(decoder, vocabulary, most)
    with path.open("w", encoding="utf-8") as file:
        for id_, rows in zip(found.ids, found.log_probs, strict=True):
            beams = [d._asdict() | {"words": [w._asdict() for w in d.words]} for d in decode(rows)]
            file.write(json.dumps({"id": id_, "n_best": beams}, ensure_ascii=False) + "\n")


def _recognise_joined(
    recogniser: Recogniser, part: Part, config: EvaluateConfig, decoder: DecoderConfig
) -> list[Hypothesis]:
    """Hypotheses of recordings of at least `join_seconds`, which consecutive utterances are joined to."""
    between = recogniser.vocabulary.between_words
    hypotheses = []
    for number, (waveform, references) in enumerate(_joined(part, config.join_seconds or 0)):

        def read(start: int, end: int, waveform: NDArray[np.int16] = waveform) -> NDArray[np.float32]:
            return waveform[start:end].astype(np.float32) / 32768

        rows = long_log_probs(recogniser, read, len(waveform), config.chunk_seconds, config.stride_seconds)
        pieces = [piece for _, piece in pieces_at_pauses(rows, recogniser.vocabulary)]
        text = between.join(t for t in texts(decoder, recogniser.vocabulary, pieces) if t)
        seconds = len(waveform) / SAMPLE_RATE
        hypotheses.append(Hypothesis(f"joined_{number:04d}", "joined", seconds, between.join(references), text))
    return hypotheses


def _joined(part: Part, seconds: float) -> Iterator[tuple[NDArray[np.int16], list[str]]]:
    """Consecutive utterances as recordings of at least `seconds` (the last may be shorter), with their transcripts."""
    waveforms: list[NDArray[np.int16]] = []
    references: list[str] = []
    for row, text in zip(part.audio, part.texts, strict=True):
        waveforms.append(np.asarray(row["waveform"], np.int16))
        references.append(text)
        if sum(map(len, waveforms)) >= seconds * SAMPLE_RATE:
            yield np.concatenate(waveforms), references
            waveforms, references = [], []
    if waveforms:
        yield np.concatenate(waveforms), references
