"""An evaluation, whole: a part of a corpus decoded, counted, told with intervals, and held against another run."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from khasr.config import DecoderConfig, EvaluateConfig, to_plain
from khasr.decoding.beam import BeamSearch, check_decoder
from khasr.decoding.greedy import decode_greedy, decode_greedy_words
from khasr.decoding.hypotheses import Decoded
from khasr.scoring.alignments import error_segments
from khasr.scoring.breakdown import Row, Scored, by_duration, by_frequency, by_oov, by_speaker
from khasr.scoring.counts import RATES, Edits, confusions, count_edits
from khasr.scoring.long_audio import RATE, long_log_probs, pieces_at_pauses
from khasr.scoring.recogniser import (
    Recognised,
    Recogniser,
    check_there,
    keep_folder,
    load_recogniser,
    read_parts,
    recognise_part,
)
from khasr.scoring.significance import matched_pairs, paired_difference, rate_interval
from khasr.text.vocabulary import Vocabulary

_SHOWN = 10


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
            heard = _scored(recognised, _texts(decoder, recogniser.vocabulary, recognised.log_probs))
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
    write_hypotheses(folder / "hypotheses.tsv", scored)
    print(tell(results, folder))
    return results


def _decoder_of(run: str, config: EvaluateConfig) -> DecoderConfig:
    """The decoder of the run that is compared with: its own tuned one where the first's is its own, else the same."""
    import yaml

    tuned = [Path(r).expanduser() / "decoder.yaml" for r in (config.run, run)]
    if all(t.is_file() for t in tuned) and DecoderConfig(**yaml.safe_load(tuned[0].read_text())) == config.decoder:
        return DecoderConfig(**yaml.safe_load(tuned[1].read_text()))
    return config.decoder


def _scored(recognised: Recognised, texts: Sequence[str]) -> list[Scored]:
    rows = zip(recognised.ids, recognised.speakers, recognised.seconds, recognised.references, texts, strict=True)
    return [Scored(*row) for row in rows]


def _texts(decoder: DecoderConfig, vocabulary: Vocabulary, log_probs: Sequence[NDArray[np.float32]]) -> list[str]:
    if decoder.name != "greedy":
        return BeamSearch(decoder, vocabulary).texts(log_probs)
    return [decode_greedy(torch.from_numpy(rows)[None], torch.tensor([len(rows)]), vocabulary)[0] for rows in log_probs]


def n_best(decoder: DecoderConfig, vocabulary: Vocabulary, most: int) -> Callable[[NDArray[np.float32]], list[Decoded]]:
    """A function from an utterance's log-probabilities to its hypotheses, best first; greedy decoding has one."""
    if decoder.name == "greedy":
        return lambda rows: [decode_greedy_words(torch.from_numpy(rows), vocabulary)]
    search = BeamSearch(decoder, vocabulary)
    return lambda rows: search.beams(rows)[:most]


def _write_n_best(
    path: Path, decoder: DecoderConfig, vocabulary: Vocabulary, recognised: Recognised, most: int
) -> None:
    read = n_best(decoder, vocabulary, most)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for id_, rows in zip(recognised.ids, recognised.log_probs, strict=True):
            beams = [d._asdict() | {"words": [w._asdict() for w in d.words]} for d in read(rows)]
            file.write(json.dumps({"id": id_, "n_best": beams}, ensure_ascii=False) + "\n")


def _hear_joined(recogniser: Recogniser, part: Any, config: EvaluateConfig, decoder: DecoderConfig) -> list[Scored]:
    """Utterances joined, in order, to recordings of join_seconds or a little more, heard as long audio is."""
    joined: list[tuple[list[NDArray[np.int16]], list[str]]] = [([], [])]
    for row, text in zip(part.audio, part.texts, strict=True):
        waveforms, texts = joined[-1]
        if sum(map(len, waveforms)) >= (config.join_seconds or 0) * RATE:
            joined.append(([], []))
            waveforms, texts = joined[-1]
        waveforms.append(np.asarray(row["waveform"], np.int16))
        texts.append(text)
    scored = []
    for number, (waveforms, texts) in enumerate(joined):
        whole = np.concatenate(waveforms)

        def read(start: int, end: int, whole: NDArray[np.int16] = whole) -> NDArray[np.float32]:
            return whole[start:end].astype(np.float32) / 32768

        pieces = long_log_probs(recogniser, read, len(whole), config.chunk_seconds, config.stride_seconds)
        heard = _texts(decoder, recogniser.vocabulary, [r for _, r in pieces_at_pauses(pieces, recogniser.vocabulary)])
        seconds = len(whole) / RATE
        between = recogniser.vocabulary.between_words
        said, heard_whole = between.join(texts), between.join(h for h in heard if h)
        scored.append(Scored(f"joined_{number:04d}", "joined", seconds, said, heard_whole))
    return scored


# ------------------------------------------------------------------------------------------------------------- numbers


def describe(scored: Sequence[Scored], trained: Counter[str] | None, resamples: int) -> dict[str, Any]:
    """Rates with intervals, breakdowns and confusions of what was heard.

    Args:
        trained: how often each word is in the training transcripts; None where that is not known.
    """
    rates = {}
    for name, unit in RATES.items():
        counted = [count_edits(unit(s.reference), unit(s.hypothesis)) for s in scored]
        rates[name] = rate(counted, [s.speaker for s in scored], resamples)
    pairs, alike = confusions((s.reference, s.hypothesis) for s in scored)
    tables: dict[str, list[Row]] = {"speaker": by_speaker(scored), "duration": by_duration(scored)}
    if trained:
        tables |= {"new words": by_oov(scored, trained), "times in training": by_frequency(scored, trained)}
    return {
        "utterances": len(scored),
        "speakers": len({s.speaker for s in scored}),
        "seconds": sum(s.seconds for s in scored),
        "rates": rates,
        "look_alike_substitutions": alike,
        "confusions": [{"reference": a, "hypothesis": b, "count": n} for (a, b), n in pairs.most_common(50)],
        "by": {name: [asdict(r) | {"rate": r.rate} for r in rows] for name, rows in tables.items()},
    }


def rate(counted: Sequence[Edits], speakers: Sequence[str], resamples: int) -> dict[str, Any]:
    """A corpus-level rate, its substitutions, deletions and insertions, with intervals over utterances and speakers."""
    units = [c.units for c in counted]
    found: dict[str, Any] = {"units": sum(units), "edits": sum(c.total for c in counted)}
    kinds = {
        "all": [c.total for c in counted],
        "substitutions": [c.substitutions for c in counted],
        "deletions": [c.deletions for c in counted],
        "insertions": [c.insertions for c in counted],
    }
    for name, edits in kinds.items():
        here: dict[str, Any] = {"count": sum(edits), "rate": sum(edits) / sum(units) if sum(units) else float("nan")}
        for over, groups in (("utterances", None), ("speakers", speakers)):
            try:
                here[over] = list(rate_interval(edits, units, groups=groups, resamples=resamples)[1:])
            except ValueError as refused:
                here[over] = str(refused)
        found |= here if name == "all" else {name: here}
    return found


def compare(scored: Sequence[Scored], against: Sequence[Scored], resamples: int) -> dict[str, Any]:
    """The difference of two runs on the same utterances: intervals, p-values, and the utterances that changed.

    Raises:
        ValueError: they are not the same utterances.
    """
    if [(s.id, s.reference) for s in scored] != [(s.id, s.reference) for s in against]:
        raise ValueError(
            "The two runs were not scored on the same utterances and references; their text options differ."
        )
    speakers = [s.speaker for s in scored]
    found: dict[str, Any] = {}
    for name, unit in RATES.items():
        ours = [count_edits(unit(s.reference), unit(s.hypothesis)) for s in scored]
        theirs = [count_edits(unit(s.reference), unit(s.hypothesis)) for s in against]
        edits = ([e.total for e in ours], [e.total for e in theirs], [e.units for e in ours])
        found[name] = {"rate": sum(edits[1]) / sum(edits[2])}
        for over, groups in (("utterances", None), ("speakers", speakers)):
            try:
                found[name][over] = paired_difference(*edits, groups=groups, resamples=resamples)._asdict()
            except ValueError as refused:
                found[name][over] = str(refused)
    segments = [
        x for a, b in zip(scored, against, strict=True) for x in error_segments(a.reference, a.hypothesis, b.hypothesis)
    ]
    found["matched_pairs"] = matched_pairs([a for a, _ in segments], [b for _, b in segments])._asdict()
    changed = [(a, b) for a, b in zip(scored, against, strict=True) if a.hypothesis != b.hypothesis]
    found["changed"] = [
        {"id": a.id, "reference": a.reference, "hypothesis": a.hypothesis, "against": b.hypothesis,
         "edits": _word_errors(a), "edits_against": _word_errors(b)}
        for a, b in changed
    ]  # fmt: skip
    return found


def _word_errors(scored: Scored) -> int:
    return count_edits(scored.reference.split(), scored.hypothesis.split()).total


def write_hypotheses(path: Path, scored: Sequence[Sequence[Scored]]) -> None:
    """Writes a line an utterance: what was said and heard, with its word edits; the other run's beside it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        names = ["id", "speaker", "seconds", "reference", "hypothesis", "substitutions", "deletions", "insertions"]
        rows.writerow(names + (["against"] if len(scored) > 1 else []))
        for together in zip(*scored, strict=True):
            s = together[0]
            edits = count_edits(s.reference.split(), s.hypothesis.split())
            rows.writerow([s.id, s.speaker, f"{s.seconds:.3f}", s.reference, s.hypothesis, *edits[:3],
                           *(o.hypothesis for o in together[1:])])  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- tables


def tell(results: dict[str, Any], folder: Path) -> str:
    """What is printed: rates with intervals, breakdowns, confusions, and the difference."""
    lines = [f"{results['run']} on {results['part']} of {results['data']}, decoder {results['decoder']['name']}: "
             f"{results['utterances']:,} utterances, {results['speakers']} speakers, "
             f"{results['seconds'] / 60:.1f} min", ""]  # fmt: skip
    lines.append(
        f"{'%':16s}{'rate':>8s}  {'95 % over utterances':>20s}  {'over speakers':>16s}  {'S':>6s}{'D':>6s}{'I':>6s}"
    )
    for name, found in results["rates"].items():
        kinds = "".join(f"{100 * found[k]['rate']:6.2f}" for k in ("substitutions", "deletions", "insertions"))
        lines.append(f"{name:16s}{100 * found['rate']:8.2f}  {_interval(found['utterances']):>20s}  "
                     f"{_interval(found['speakers']):>16s}  {kinds}")  # fmt: skip
    refused = results["rates"]["wer"]["speakers"]
    if isinstance(refused, str):
        lines.append(f"over speakers: {refused}")
    lines.append(f"substitutions between spellings that look alike: {results['look_alike_substitutions']}")
    for name, rows in results["by"].items():
        lines += ["", f"WER by {name}"]
        lines += [f"  {r['name']:22s}{100 * r['rate']:8.2f} %  of {r['words']:,} words" for r in rows[:20]]
    lines += ["", "Most frequent confusions (reference > hypothesis)"]
    for c in results["confusions"][:_SHOWN]:
        lines.append(f"  {c['count']:4d}  {c['reference'] or '(nothing)'} > {c['hypothesis'] or '(nothing)'}")
    if "against" in results:
        lines += ["", *_tell_difference(results)]
    written = [folder / n for n in ("evaluation.json", "hypotheses.tsv", "n_best.jsonl") if (folder / n).is_file()]
    return "\n".join([*lines, "", *(f"  {path}" for path in written)])


def _interval(found: list[float] | str) -> str:
    return "-" if isinstance(found, str) else f"{100 * found[0]:.2f} to {100 * found[1]:.2f}"


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p {value:.4f}"


def _tell_difference(results: dict[str, Any]) -> list[str]:
    against = results["against"]
    lines = [f"Against {against['run']} (this run minus that, points)"]
    for name in RATES:
        found = against[name]["utterances"]
        if isinstance(found, dict):
            lines.append(f"  {name:16s}{100 * found['value']:+8.2f}  {100 * found['low']:+.2f} to "
                         f"{100 * found['high']:+.2f}  "
                         f"{_p(found['p'])} (paired bootstrap)")  # fmt: skip
    pairs = against["matched_pairs"]
    lines.append(f"  matched pairs (MAPSSWE): z {pairs['z']:+.2f}, {_p(pairs['p'])}, {pairs['segments']} segments")
    lines.append(f"{len(against['changed'])} utterances changed; the most:")
    most = sorted(against["changed"], key=lambda c: -abs(c["edits"] - c["edits_against"]))[:5]
    for c in most:
        lines += [f"  {c['id']}  {c['edits_against']} > {c['edits']} edits", f"    reference {c['reference']}",
                  f"    that      {c['against']}", f"    this      {c['hypothesis']}"]  # fmt: skip
    return lines
