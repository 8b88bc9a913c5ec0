"""An evaluation: one part of a corpus recognised by one or two runs, scored, written and printed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from khasr.config import DecoderConfig, EvaluateConfig, TextConfig, to_plain
from khasr.data.audio import SAMPLE_RATE
from khasr.data.datamodule import read_parts
from khasr.data.parts import Part
from khasr.decoding.beam import check_decoder
from khasr.decoding.confidence_file import read_confidence
from khasr.decoding.decoded import Decoded
from khasr.decoding.decoder import texts
from khasr.inference.calibration import (
    RatedPart,
    decode_part,
    describe_confidence,
    fit_on_val,
    format_confidence,
)
from khasr.inference.comparable import describe_overlap, describe_symbols, is_own_val, normalised, training_words
from khasr.inference.long_audio import long_log_probs, pieces_at_pauses
from khasr.inference.recogniser import Recogniser, load_recogniser, recognise_part, resolve_run
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import Hypothesis, write_hypotheses
from khasr.scoring.report import compare, describe, format_report
from khasr.text.normalise import normalise
from khasr.text.terminal import printable


def evaluate(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
    """Scores a run, writes evaluation.json and hypotheses.tsv to the folder, prints the report, returns the results.

    Raises:
        FileNotFoundError, ValueError: a run, corpus or language model that cannot be used, or a second run that was
            trained on utterances of the part.
    """
    check_decoder(config.decoder)
    runs = [config.run] + ([config.against] if config.against else [])
    for run in runs:
        resolve_run(run)  # both are checked before the first is recognised
    parts = read_parts(config.data, seed=0, needed=[] if config.part == "all" else [config.part])
    part = parts[config.part]
    notes = describe_overlap(config, [str(id_) for id_ in part.audio["id"]])
    folder.mkdir(parents=True, exist_ok=True)
    recognised = []
    for run in runs:
        recognised.append(_recognise(run, part, config))
        notes += recognised[-1].notes
    found = recognised[0].hypotheses
    confidence = _describe_confidence(config, recognised[0], folder)
    results: dict[str, Any] = {"run": config.run, "data": config.data.name, "part": config.part}
    results |= {"decoder": to_plain(config.decoder)}
    results |= describe(found, training_words(config, parts["all"]), config.resamples, config.data.text.language)
    against = None
    if config.against:
        against = recognised[1].hypotheses
        forms = [config.data.text, *([recognised[1].text] if recognised[1].text else [])]
        if len({str(to_plain(form)) for form in forms}) > 1:
            notes.append(
                f"{config.run} and {config.against} have different text options (data.text): for the difference, "
                "references and hypotheses are normalised by the options of both."
            )
        pair = (normalised(found, forms), normalised(against, forms))
        results["against"] = {"run": config.against, "decoder": to_plain(recognised[1].decoder)}
        results["against"] |= compare(*pair, config.resamples, config.data.text.language)
    if confidence is not None:
        results["confidence"] = confidence
    results["notes"] = notes
    written = [folder / "evaluation.json", folder / "hypotheses.tsv"]
    written[0].write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    write_hypotheses(written[1], {config.part: found}, against)
    if config.n_best and recognised[0].rated is not None:
        written.append(folder / "n_best.jsonl")
        _write_n_best(written[-1], recognised[0].rated.hypotheses, [h.id for h in found], config.n_best)
    if isinstance(confidence, dict):
        written.append(folder / "reliability.png")
    for line in format_report(results, written).split("\n"):
        print(printable(line))
    if confidence is not None:
        print(format_confidence(confidence))
    return results


@dataclass
class _Recognised:
    """One run's hypotheses of a part, with the text options that it was trained with, if known.

    Attributes:
        rated: the n-best lists, of the first run on separate utterances.
        fits: whether confidences are to be fitted on them.
    """

    hypotheses: list[Hypothesis]
    decoder: DecoderConfig
    text: TextConfig | None
    notes: list[str]
    rated: RatedPart | None = None
    fits: bool = False


def _recognise(run: str, part: Part, config: EvaluateConfig) -> _Recognised:
    """One run's hypotheses of the part, as joined recordings where `join_seconds` is set."""
    recogniser = load_recogniser(run)
    decoder = config.decoder if run == config.run else _decoder_of(run, config)
    rated, fits = None, False
    if config.join_seconds:
        hypotheses = _recognise_joined(recogniser, part, config, decoder)
    else:
        found = recognise_part(recogniser, part, config.data, RunFolder.at(run).log_probs)
        fits = run == config.run and is_own_val(config, found.ids)
        if run == config.run and (fits or _needs_n_best(config)):
            rated = decode_part(found, decoder, recogniser.vocabulary)
            hypotheses = found.hypotheses(beams[0].text for beams in rated.hypotheses)
        else:
            hypotheses = found.hypotheses(texts(decoder, recogniser.vocabulary, found.log_probs))
    notes = describe_symbols(run, part.texts, recogniser.vocabulary)
    if recogniser.text is None:
        # The form that a foreign model writes in is unknown: its hypotheses are normalised as the references are.
        hypotheses = [replace(h, hypothesis=normalise(h.hypothesis, config.data.text)) for h in hypotheses]
    return _Recognised(hypotheses, decoder, recogniser.text, notes, rated, fits)


def _needs_n_best(config: EvaluateConfig) -> bool:
    """Whether n-best lists are wanted or confidences are known; else the faster search for one text does."""
    return bool(config.n_best) or read_confidence(RunFolder.at(config.run), config.decoder) is not None


def _describe_confidence(config: EvaluateConfig, found: _Recognised, folder: Path) -> dict[str, Any] | str | None:
    """How reliable the confidences of words are, which are fitted if the part is the run's own val.

    Adds them to the n-best lists.

    Returns:
        As in evaluation.json; the reason if they are not fitted; None if they are not needed.
    """
    run, rated = RunFolder.at(config.run), found.rated
    if rated is None:
        return None
    picture = folder / "reliability.png"
    described = fit_on_val(run, rated, config.decoder, picture) if found.fits else ""
    confidence = read_confidence(run, config.decoder)
    if confidence is None:
        how = f"python -m khasr.evaluate run={config.run} part=val with the same decoder fits them."
        return described or f"none were fitted for this decoder; {how}"
    rated.hypotheses = [
        confidence.rate(beams, features) for beams, features in zip(rated.hypotheses, rated.features, strict=True)
    ]
    if described:
        return described
    values = [confidence.probabilities(features) for features in rated.features]
    try:
        return describe_confidence(rated, values, f"fitted on val of {config.run}", picture)
    except ValueError as refused:
        return str(refused)


def _decoder_of(against: str, config: EvaluateConfig) -> DecoderConfig:
    """The decoder of the second run: its own tuned one if the first run uses its own tuned one, else the first's."""
    first, second = (RunFolder.at(run).read_decoder() for run in (config.run, against))
    return second if second is not None and first == config.decoder else config.decoder


def _write_n_best(path: Path, hypotheses: list[list[Decoded]], ids: list[str], most: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for id_, found in zip(ids, hypotheses, strict=True):
            beams = [d._asdict() | {"words": [w._asdict() for w in d.words]} for d in found[:most]]
            file.write(json.dumps({"id": id_, "n_best": beams}, ensure_ascii=False) + "\n")


def _recognise_joined(
    recogniser: Recogniser, part: Part, config: EvaluateConfig, decoder: DecoderConfig
) -> list[Hypothesis]:
    """Hypotheses of recordings of at least `join_seconds`, which consecutive utterances are joined to."""
    between = recogniser.vocabulary.between_words
    hypotheses = []
    for number, (waveform, references) in enumerate(_joined(part, config.join_seconds or 0)):
        samples = waveform.astype(np.float32) / 32768
        rows = long_log_probs(recogniser, [samples], config.chunk_seconds, config.stride_seconds)
        pieces = [piece for _, piece in pieces_at_pauses(rows, recogniser.vocabulary)]
        text = between.join(t for t in texts(decoder, recogniser.vocabulary, pieces) if t)
        seconds = len(waveform) / SAMPLE_RATE
        hypotheses.append(Hypothesis(f"joined_{number:04d}", "", seconds, between.join(references), text))
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
