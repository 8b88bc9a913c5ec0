"""Search for the beam search's weights and pruning that give the lowest WER on val.

Each trial decodes val, and is pruned if it is worse than the median. Rescoring of n-best lists is cheaper and was tried
first, but it disagrees with the decoder: the search prunes a beam as soon as a complete word makes it fall behind. The
weights that were best in rescoring (31 % WER) gave 42 % when decoded.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from khasr.config import DecoderConfig, TuneConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.beam import BeamSearch, lm_file
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.run.folder import RunFolder
from khasr.run.lock import lock_run
from khasr.scoring.significance import Difference, paired_difference
from khasr.text.counting import counted
from khasr.text.vocabulary import Vocabulary

# Ranges of the search, around the card's alpha 0.5 and beta 1.5 and pyctcdecode's default pruning of -5 and -10.
_ALPHA, _BETA, _UNK_SCORE_OFFSET = (0.05, 1.5), (-2.0, 6.0), (-20.0, 0.0)
_TOKEN_MIN_LOGP, _BEAM_PRUNE_LOGP = (-5.0, -7.0), (-10.0, -14.0)

# Utterances are decoded in this many parts; after each, a trial that is worse than the median is pruned.
_PARTS = 4


@dataclass
class Tuned:
    """The result of a search.

    Attributes:
        decoder: the best decoder.
        wer: on val, with the best decoder; `untuned` with the decoder that was given.
        edits: in words, of each utterance, with the best decoder; `edits_untuned` with the decoder that was given.
        trials: weights and pruning, WER, and the share of the utterances that were decoded, of each trial.
    """

    decoder: DecoderConfig
    wer: float
    untuned: float
    edits: list[int]
    edits_untuned: list[int]
    trials: list[dict[str, Any]]


def tune_run(config: TuneConfig) -> float:
    """Tunes the decoder of a run, writes the result into its folder or `out`, and returns the WER on val as a fraction.

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
    options = DecoderConfig(
        name="beam_lm",
        lm=str(lm.parent.resolve() if lm.name == "lm.binary" else lm.resolve()),
        beam_width=config.beam_width,
    )
    tuned = tune(options, recogniser.vocabulary, val.log_probs, val.references, trials=config.trials, seed=config.seed)
    seconds = time.perf_counter() - start
    out.write_decoder(tuned.decoder)
    words = [len(reference.split()) for reference in val.references]
    difference: dict[str, Any] | str
    try:
        gained = paired_difference(tuned.edits, tuned.edits_untuned, words)
        difference, gain = gained._asdict(), describe_gain(gained)
    except ValueError as refused:  # a single utterance
        difference = gain = str(refused)
    results: dict[str, Any] = {
        "wer": tuned.wer, "wer_untuned": tuned.untuned, "difference": difference, "utterances": len(val.ids),
        "seconds": seconds, "seed": config.seed, "trials": tuned.trials,
    }  # fmt: skip
    out.tuning.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw_trials(tuned, out.tuning_picture, f"{run.path.name}: WER on val ({counted(len(val.ids), 'utterance')})")
    print(
        f"val WER {100 * tuned.untuned:.2f} % untuned, {100 * tuned.wer:.2f} % tuned; "
        f"{counted(len(tuned.trials), 'trial')} on {counted(len(val.ids), 'utterance')} in {seconds:.0f} s\n{gain}\n"
        f"  {out.decoder}\n  {out.tuning}\n  "
        f"{out.tuning_picture}"
    )
    if out != run:
        changed = {key: value for key, value in asdict(tuned.decoder).items() if value != getattr(DecoderConfig(), key)}
        overrides = [f"decoder.{key}={value}" for key, value in changed.items() if key != "name"]
        print(f"Evaluate with it: decoder={tuned.decoder.name} {' '.join(overrides)}")
    return tuned.wer


def tune(
    options: DecoderConfig,
    vocabulary: Vocabulary,
    log_probs: Sequence[NDArray[np.float32]],
    references: Sequence[str],
    *,
    trials: int,
    seed: int,
    report: Callable[[str], None] = print,
) -> Tuned:
    """The decoder with the lowest WER on these utterances among the trials, of which `options` is the first.

    Args:
        options: beam_lm with its language model and beam width.
        log_probs: (frames, vocab) of each utterance.
        report: called with a line on the number of trials.
    """
    words = [reference.split() for reference in references]
    # A random order: every part has utterances of all lengths and speakers.
    order = np.random.default_rng(seed).permutation(len(references))
    parts = [part for part in np.array_split(order, _PARTS) if len(part)]
    rows: list[dict[str, Any]] = []
    decoders: list[DecoderConfig] = []
    search = BeamSearch(options, vocabulary)

    def edits_of(indices: Sequence[int] | NDArray[np.int64]) -> list[int]:
        texts = search.texts([log_probs[i] for i in indices])
        return [Levenshtein.distance(words[i], text.split()) for i, text in zip(indices, texts, strict=True)]

    def objective(trial: optuna.Trial) -> float:
        decoder = replace(
            options,
            alpha=round(trial.suggest_float("alpha", *_ALPHA), 3),
            beta=round(trial.suggest_float("beta", *_BETA), 3),
            unk_score_offset=round(trial.suggest_float("unk_score_offset", *_UNK_SCORE_OFFSET), 2),
            token_min_logp=trial.suggest_categorical("token_min_logp", _TOKEN_MIN_LOGP),
            beam_prune_logp=trial.suggest_categorical("beam_prune_logp", _BEAM_PRUNE_LOGP),
        )
        search.weigh(decoder)
        edits = units = 0
        for number, part in enumerate(parts):
            edits += sum(edits_of(part))
            units += sum(len(words[i]) for i in part)
            trial.report(edits / units, number)
            if number + 1 < len(parts) and trial.should_prune():
                break
        decoders.append(decoder)
        rows.append({**trial.params, "wer": edits / units, "decoded": (number + 1) / len(parts)})
        if number + 1 < len(parts):
            raise optuna.TrialPruned
        return edits / units

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner(n_startup_trials=5)
    )
    first = {"alpha": options.alpha, "beta": options.beta, "unk_score_offset": options.unk_score_offset}
    study.enqueue_trial({**first, "token_min_logp": _TOKEN_MIN_LOGP[0], "beam_prune_logp": _BEAM_PRUNE_LOGP[0]})
    study.optimize(objective, n_trials=trials)

    # Decoded once more, for the edits of each utterance: the best decoder and the first.
    best = decoders[study.best_trial.number]
    edits = []
    for decoder in (best, decoders[0]):
        search.weigh(decoder)
        edits.append(edits_of(range(len(references))))
    whole = sum(row["decoded"] == 1 for row in rows)
    report(f"{counted(len(rows), 'trial')}, {whole} on all {counted(len(references), 'utterance')}, the rest pruned")
    return Tuned(best, sum(edits[0]) / sum(map(len, words)), rows[0]["wer"], edits[0], edits[1], rows)


def describe_gain(gained: Difference) -> str:
    """A sentence on the gain on val, and whether it can be expected on another part."""
    gain = f"tuning changed WER on val by {100 * gained.value:+.2f} points ({100 * gained.low:+.2f} to "
    gain += f"{100 * gained.high:+.2f})"
    if gained.high < 0:
        return f"{gain}; expect less on another part, since the weights were chosen on val"
    return f"{gain}, which may be chance: do not expect it on another part"


def draw_trials(tuned: Tuned, path: Path, title: str) -> None:
    """Draws the trials over alpha and beta, coloured by WER, with the untuned and the best decoder marked."""
    alphas = np.array([t["alpha"] for t in tuned.trials])
    betas = np.array([t["beta"] for t in tuned.trials])
    # Everything far above the best has one colour, so that the colours resolve the region around the best.
    rates = 100 * np.minimum([t["wer"] for t in tuned.trials], tuned.wer + 0.1)
    whole = np.array([t["decoded"] == 1 for t in tuned.trials])  # the WER of a pruned trial is of a part of val
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    axes.plot(alphas[~whole], betas[~whole], "x", color="gray", ms=4, label=f"{(~whole).sum()} pruned trials")
    points = axes.scatter(
        alphas[whole],
        betas[whole],
        c=rates[whole],
        cmap="viridis_r",
        s=28,
        label=f"{counted(int(whole.sum()), 'trial')} on all of val",
    )
    figure.colorbar(points, label="WER, %", extend="max" if rates.max() > 100 * (tuned.wer + 0.0999) else "neither")
    marker: dict[str, Any] = {"ls": "", "mfc": "none", "ms": 14, "mew": 1.8}
    axes.plot(alphas[0], betas[0], "s", color="black", label=f"untuned: {100 * tuned.untuned:.1f} %", **marker)
    axes.plot(
        tuned.decoder.alpha, tuned.decoder.beta, "o", color="red", label=f"best: {100 * tuned.wer:.1f} %", **marker
    )
    axes.set(xlabel="alpha (weight of the language model)", ylabel="beta (bonus per word)", title=title)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
