"""An evaluation, whole: a part of a corpus decoded, counted, told with intervals, and held against another run."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from khasr.config import DecoderConfig, EvaluateConfig, to_plain
from khasr.data.audio import SAMPLE_RATE
from khasr.data.datamodule import read_parts
from khasr.decoding.beam import check_decoder
from khasr.decoding.decoder import n_best, texts
from khasr.inference.long_audio import long_log_probs, pieces_at_pauses
from khasr.inference.recogniser import Recognised, Recogniser, check_there, load_recogniser, recognise_part
from khasr.run.folder import keep_folder
from khasr.scoring.hypotheses import Hypothesis, write_hypotheses
from khasr.scoring.report import compare, describe, tell
from khasr.text.vocabulary import Vocabulary


def evaluate(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
    """Scores a run, writes evaluation.json and hypotheses.tsv to the folder, prints tables, and returns the former.

    Raises:
        FileNotFoundError, ValueError: a run, corpus or language model that cannot be used.
    """
    check_decoder(config.decoder)
    runs = [config.run] + ([config.against] if config.against else [])
    for run in runs:
        check_there(run)  # the other run's name is told before the first is heard
    parts = read_parts(config.data, seed=0)
    part = parts[config.part]
    scored = []
    for run in runs:
        recogniser = load_recogniser(run)
        decoder = config.decoder if run == config.run else _decoder_of(run, config)
        if config.join_seconds:
            heard = _hear_joined(recogniser, part, config, decoder)
        else:
            recognised = recognise_part(recogniser, part, config.data, keep_folder(run))
            heard = _scored(recognised, texts(decoder, recogniser.vocabulary, recognised.log_probs))
            if config.n_best and run == config.run:
                _write_n_best(folder / "n_best.jsonl", decoder, recogniser.vocabulary, recognised, config.n_best)
        scored.append(heard)
    trained = Counter(word for text in parts["train"].texts for word in text.split()) if config.part != "all" else None
    results = {"run": config.run, "data": config.data.name, "part": config.part, "decoder": to_plain(config.decoder)}
    results |= describe(scored[0], trained, config.resamples)
    if config.against:
        results["against"] = {"run": config.against} | compare(scored[0], scored[1], config.resamples)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    against = scored[1] if config.against else None
    write_hypotheses(folder / "hypotheses.tsv", {config.part: scored[0]}, against)
    print(tell(results, folder))
    return results


def _decoder_of(run: str, config: EvaluateConfig) -> DecoderConfig:
    """The decoder of the run that is compared with: its own tuned one where the first's is its own, else the same."""
    import yaml

    tuned = [Path(r).expanduser() / "decoder.yaml" for r in (config.run, run)]
    if all(t.is_file() for t in tuned) and DecoderConfig(**yaml.safe_load(tuned[0].read_text())) == config.decoder:
        return DecoderConfig(**yaml.safe_load(tuned[1].read_text()))
    return config.decoder


def _scored(recognised: Recognised, decoded: Sequence[str]) -> list[Hypothesis]:
    rows = zip(recognised.ids, recognised.speakers, recognised.seconds, recognised.references, decoded, strict=True)
    return [Hypothesis(*row) for row in rows]


def _write_n_best(
    path: Path, decoder: DecoderConfig, vocabulary: Vocabulary, recognised: Recognised, most: int
) -> None:
    read = n_best(decoder, vocabulary, most)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for id_, rows in zip(recognised.ids, recognised.log_probs, strict=True):
            beams = [d._asdict() | {"words": [w._asdict() for w in d.words]} for d in read(rows)]
            file.write(json.dumps({"id": id_, "n_best": beams}, ensure_ascii=False) + "\n")


def _hear_joined(recogniser: Recogniser, part: Any, config: EvaluateConfig, decoder: DecoderConfig) -> list[Hypothesis]:
    """Utterances joined, in order, to recordings of join_seconds or a little more, heard as long audio is."""
    joined: list[tuple[list[NDArray[np.int16]], list[str]]] = [([], [])]
    for row, text in zip(part.audio, part.texts, strict=True):
        waveforms, references = joined[-1]
        if sum(map(len, waveforms)) >= (config.join_seconds or 0) * SAMPLE_RATE:
            joined.append(([], []))
            waveforms, references = joined[-1]
        waveforms.append(np.asarray(row["waveform"], np.int16))
        references.append(text)
    scored = []
    for number, (waveforms, references) in enumerate(joined):
        whole = np.concatenate(waveforms)

        def read(start: int, end: int, whole: NDArray[np.int16] = whole) -> NDArray[np.float32]:
            return whole[start:end].astype(np.float32) / 32768

        pieces = long_log_probs(recogniser, read, len(whole), config.chunk_seconds, config.stride_seconds)
        heard = texts(decoder, recogniser.vocabulary, [r for _, r in pieces_at_pauses(pieces, recogniser.vocabulary)])
        seconds = len(whole) / SAMPLE_RATE
        between = recogniser.vocabulary.between_words
        said, heard_whole = between.join(references), between.join(h for h in heard if h)
        scored.append(Hypothesis(f"joined_{number:04d}", "joined", seconds, said, heard_whole))
    return scored
