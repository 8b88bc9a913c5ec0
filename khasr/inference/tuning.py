"""Search for the beam search's weights and pruning that give the lowest WER on val.

Each trial decodes val, and is pruned if it is worse than the median. Rescoring of n-best lists is cheaper and was tried
first, but it disagrees with the decoder: the search prunes a beam as soon as a complete word makes it fall behind. The
weights that were best in rescoring (31 % WER) gave 42 % when decoded.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from khasr.config import DecoderConfig, TuneConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.beam import BeamSearch, lm_file
from khasr.inference.calibration import decode_part, fit_on_val, format_confidence
from khasr.inference.recogniser import PartLogProbs, load_recogniser, recognise_part
from khasr.inference.tuning_picture import draw_trials
from khasr.run.folder import RunFolder
from khasr.run.lock import lock_run
from khasr.scoring.significance import Difference, paired_difference
from khasr.text.counting import counted
from khasr.text.vocabulary import Vocabulary

LN10 = math.log(10)

# Utterances are decoded in this many parts; after each, a trial that is worse than the median is pruned.
_PARTS = 4


@dataclass(frozen=True)
class Range:
    """The interval that a weight is searched in; it grows up to `least` and `most` while the best is near an end."""

    low: float
    high: float
    least: float = -math.inf
    most: float = math.inf

    def grown(self, best: float) -> "Range":
        """The interval, longer by half at an end that `best` is near."""
        near, more = 0.1 * (self.high - self.low), 0.5 * (self.high - self.low)
        low = max(self.least, self.low - more) if best < self.low + near else self.low
        high = min(self.most, self.high + more) if best > self.high - near else self.high
        return replace(self, low=low, high=high)

    def touches(self, best: float) -> bool:
        """Whether `best` is at an end that is not a limit of the weight itself."""
        near = 0.05 * (self.high - self.low)
        return (self.low > self.least and best < self.low + near) or (self.high < self.most and best > self.high - near)


# First ranges, around pyctcdecode's defaults. `unknown` is ln of the factor of an unknown word, so that it does not
# change with alpha; DecoderConfig has pyctcdecode's unk_score_offset, which is multiplied by alpha and ln 10.
RANGES = {
    "alpha": Range(0.05, 1.5, least=0.01),
    "beta": Range(-2.0, 7.0),
    "unknown": Range(-30.0, 0.0, most=5.0),
}

# With a spelling model, whose weights replace the flat score of unknown words.
RANGES_WITH_SPELLING = {
    "alpha": Range(0.0, 1.0, least=0.0),
    "beta": Range(-2.0, 4.0),
    "spelling": Range(0.7, 1.9, least=0.0),
    "spelling_bonus": Range(1.2, 3.6),
}
_TOKEN_MIN_LOGP, _BEAM_PRUNE_LOGP = (-5.0, -7.0), (-10.0, -14.0)


@dataclass
class Tuned:
    """The result of a search.

    Attributes:
        decoder: the best decoder.
        wer: on the utterances, with the best decoder; `untuned` with the decoder that was given.
        edits: in words, of each utterance, with the best decoder; `edits_untuned` with the decoder that was given.
        trials: weights and pruning, WER, and the share of the utterances that were decoded, of each trial.
        edges: sentences on weights that are at an end of the range searched.
    """

    decoder: DecoderConfig
    wer: float
    untuned: float
    edits: list[int]
    edits_untuned: list[int]
    trials: list[dict[str, Any]]
    edges: list[str]


def tune_run(config: TuneConfig) -> float:
    """Tunes the decoder of a run, writes the result into its folder or `out`, and returns the WER on val as a fraction.

    The untuned decoder is written if the gain may be chance, unless `always` is set.

    Raises:
        FileNotFoundError: no such run or language model.
        ValueError: a folder that cannot be written to, or that another process uses.
    """
    out = RunFolder.at(config.out or config.run)
    with lock_run(out):
        if not os.access(out.path, os.W_OK):
            raise ValueError(f"{out.path} cannot be written to; out=DIR writes the tuned decoder to another folder.")
        return _tune_run(config, out)


def _tune_run(config: TuneConfig, out: RunFolder) -> float:
    lm = lm_file(config.lm)  # checked before anything takes time
    run = RunFolder.at(config.run)
    recogniser = load_recogniser(config.run)
    val = recognise_part(recogniser, read_parts(config.data, seed=0, needed=["val"])["val"], config.data, run.log_probs)
    start = time.perf_counter()
    untuned = DecoderConfig(
        name="beam_lm",
        lm=str(lm.parent.resolve() if lm.name == "lm.binary" else lm.resolve()),
        beam_width=config.beam_width,
    )
    chosen_on, apart = _halves(val, config)
    tuned = tune(untuned, recogniser.vocabulary, *chosen_on, trials=config.trials, seed=config.seed)
    seconds = time.perf_counter() - start
    on_val = _gain(tuned.edits, tuned.edits_untuned, chosen_on[1])
    on_apart = _gain_apart(untuned, tuned.decoder, recogniser.vocabulary, *apart) if apart[1] else None
    deciding = on_val if on_apart is None else on_apart
    written = config.always or (isinstance(deciding, Difference) and deciding.high < 0)
    decoder = tuned.decoder if written else untuned
    out.write_decoder(decoder)
    results: dict[str, Any] = {
        "wer": tuned.wer, "wer_untuned": tuned.untuned, "difference": _plain(on_val), "utterances": len(chosen_on[1]),
        "difference_on_held_out": None if on_apart is None else _plain(on_apart), "held_out_utterances": len(apart[1]),
        "written": "tuned" if written else "untuned", "tuned": asdict(tuned.decoder), "edges": tuned.edges,
        "seconds": seconds, "seed": config.seed, "trials": tuned.trials,
    }  # fmt: skip
    out.tuning.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    utterances = counted(len(chosen_on[1]), "utterance")
    confidence = fit_on_val(out, decode_part(val, decoder, recogniser.vocabulary), decoder, out.reliability_picture)
    draw_trials(tuned, out.tuning_picture, f"{run.path.name}: WER on val ({utterances})")
    print(
        f"val WER {100 * tuned.untuned:.2f} % untuned, {100 * tuned.wer:.2f} % tuned; "
        f"{counted(len(tuned.trials), 'trial')} on {utterances} in {seconds:.0f} s"
    )
    for line in [*describe_gain(on_val, on_apart, len(apart[1]), written=written, always=config.always), *tuned.edges]:
        print(line)
    print(format_confidence(confidence))
    print(f"  {out.decoder}\n  {out.tuning}\n  {out.tuning_picture}")
    if out != run:
        changed = {key: value for key, value in asdict(decoder).items() if value != getattr(DecoderConfig(), key)}
        overrides = [f"decoder.{key}={value}" for key, value in changed.items() if key != "name"]
        print(f"Evaluate with it: decoder={decoder.name} {' '.join(overrides)}")
    return tuned.wer if written else tuned.untuned


_Utterances = tuple[list[NDArray[np.float32]], list[str]]


def _halves(val: PartLogProbs, config: TuneConfig) -> tuple[_Utterances, _Utterances]:
    """Log-probabilities and references that weights are chosen on, and those that are held out."""
    order = np.random.default_rng(config.seed).permutation(len(val.ids)).tolist()
    count = min(round(config.held_out * len(order)), len(order) - 1)
    halves = (sorted(order[count:]), sorted(order[:count]))
    first, second = (([val.log_probs[i] for i in half], [val.references[i] for i in half]) for half in halves)
    return first, second


def _gain(edits: Sequence[int], before: Sequence[int], references: Sequence[str]) -> Difference | str:
    """The difference of WER, or the reason why it has no interval."""
    try:
        return paired_difference(edits, before, [len(reference.split()) for reference in references])
    except ValueError as refused:  # a single utterance
        return str(refused)


def _gain_apart(
    untuned: DecoderConfig,
    tuned: DecoderConfig,
    vocabulary: Vocabulary,
    log_probs: Sequence[NDArray[np.float32]],
    references: Sequence[str],
) -> Difference | str:
    """The difference of WER on utterances that the weights were not chosen on."""
    search = BeamSearch(untuned, vocabulary)
    before = _edits(references, search.texts(log_probs))
    search.weigh(tuned)
    return _gain(_edits(references, search.texts(log_probs)), before, references)


def _edits(references: Sequence[str], texts: Sequence[str]) -> list[int]:
    return [Levenshtein.distance(r.split(), t.split()) for r, t in zip(references, texts, strict=True)]


def _plain(gain: Difference | str) -> dict[str, float] | str:
    return gain if isinstance(gain, str) else gain._asdict()


def decoder_of(options: DecoderConfig, weights: Mapping[str, float]) -> DecoderConfig:
    """The decoder with the weights of a trial."""
    changed: dict[str, Any] = {name: round(weight, 3) for name, weight in weights.items() if name != "unknown"}
    if "unknown" in weights:
        changed["unk_score_offset"] = round(weights["unknown"] / (changed["alpha"] * LN10), 3)
    return replace(options, **changed)


def tune(
    options: DecoderConfig,
    vocabulary: Vocabulary,
    log_probs: Sequence[NDArray[np.float32]],
    references: Sequence[str],
    *,
    trials: int,
    seed: int,
    ranges: Mapping[str, Range] | None = None,
    report: Callable[[str], None] = print,
) -> Tuned:
    """The decoder with the lowest WER on these utterances among the trials, of which `options` is the first.

    Args:
        options: beam_lm with its language model and beam width.
        log_probs: (frames, vocab) of each utterance.
        ranges: of the weights to search, by default all weights that the language model has.
        report: called with a line on the number of trials.
    """
    words = [len(reference.split()) for reference in references]
    # A random order: every part has utterances of all lengths and speakers.
    order = np.random.default_rng(seed).permutation(len(references))
    parts = [part for part in np.array_split(order, _PARTS) if len(part)]
    rows: list[dict[str, Any]] = []
    decoders: list[DecoderConfig] = []
    search = BeamSearch(options, vocabulary)
    searched = dict(ranges or (RANGES_WITH_SPELLING if search.spells else RANGES))

    def edits_of(indices: Sequence[int] | NDArray[np.int64]) -> list[int]:
        return _edits([references[i] for i in indices], search.texts([log_probs[i] for i in indices]))

    def objective(trial: optuna.Trial) -> float:
        whole = [row for row in rows if row["decoded"] == 1]
        if whole:
            best = min(whole, key=lambda row: float(row["wer"]))
            searched.update({name: range_.grown(best[name]) for name, range_ in searched.items()})
        weights = {name: trial.suggest_float(name, range_.low, range_.high) for name, range_ in searched.items()}
        weights["token_min_logp"] = trial.suggest_categorical("token_min_logp", _TOKEN_MIN_LOGP)
        weights["beam_prune_logp"] = trial.suggest_categorical("beam_prune_logp", _BEAM_PRUNE_LOGP)
        decoders.append(decoder_of(options, weights))
        search.weigh(decoders[-1])
        edits = units = 0
        for number, part in enumerate(parts):
            edits += sum(edits_of(part))
            units += sum(words[i] for i in part)
            trial.report(edits / units, number)
            if number + 1 < len(parts) and trial.should_prune():
                break
        rows.append({**weights, "wer": edits / units, "decoded": (number + 1) / len(parts)})
        if number + 1 < len(parts):
            raise optuna.TrialPruned
        return edits / units

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner(n_startup_trials=5)
    )
    first = {name: getattr(options, name) for name in searched if name != "unknown"}
    if "unknown" in searched:
        first["unknown"] = options.alpha * LN10 * options.unk_score_offset
    study.enqueue_trial(first | {"token_min_logp": _TOKEN_MIN_LOGP[0], "beam_prune_logp": _BEAM_PRUNE_LOGP[0]})
    study.optimize(objective, n_trials=trials)

    # Decoded once more, for the edits of each utterance: the best decoder and the first.
    best = study.best_trial.number
    edits = []
    for decoder in (decoders[best], decoders[0]):
        search.weigh(decoder)
        edits.append(edits_of(range(len(references))))
    whole = sum(row["decoded"] == 1 for row in rows)
    report(f"{counted(len(rows), 'trial')}, {whole} on all {counted(len(references), 'utterance')}, the rest pruned")
    edges = describe_edges(rows[best], searched)
    return Tuned(decoders[best], sum(edits[0]) / sum(words), rows[0]["wer"], edits[0], edits[1], rows, edges)


def describe_edges(best: Mapping[str, float], ranges: Mapping[str, Range]) -> list[str]:
    """A sentence for each weight of the best trial that is at an end of its range."""
    return [
        f"{name}={best[name]:.3g} is at the edge of the range searched, {range_.low:g} to {range_.high:g}: better "
        "weights may be outside of it. The range grows with more trials (trials=)."
        for name, range_ in ranges.items()
        if range_.touches(best[name])
    ]


def describe_gain(
    on_val: Difference | str, held_out: Difference | str | None, utterances: int, *, written: bool, always: bool
) -> list[str]:
    """Sentences on the gain on val and on its held-out part, and on which weights were written for what reason.

    Args:
        utterances: the number of held-out utterances.
    """
    if isinstance(on_val, str):
        lines = [on_val]
    else:
        lines = [f"tuning changed WER on val by {_points(on_val)}"]
        if held_out is None and on_val.high < 0:
            lines[0] += "; expect less on another part, since the weights were chosen on val"
        elif held_out is None:
            lines[0] += ", which may be chance: do not expect it on another part"
    if held_out is not None:
        gain = held_out if isinstance(held_out, str) else _points(held_out)
        lines.append(f"on {counted(utterances, 'utterance')} of val that the weights were not chosen on: {gain}")
    if written and always:
        lines.append("the tuned weights are written, because always=true")
    elif written:
        lines.append("the tuned weights are written")
    else:
        lines.append(
            "the untuned weights are written, because the gain may be chance; always=true writes the tuned ones"
        )
    return lines


def _points(gain: Difference) -> str:
    return f"{100 * gain.value:+.2f} points ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
