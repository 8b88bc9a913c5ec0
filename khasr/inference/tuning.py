"""The search for alpha, beta, the unknown words' penalty and pruning: each trial a decoding, cut short where bad.

Rescoring n-best lists was tried first and is not what the decoder does: it drops a beam that falls behind, and a beam
falls behind by a whole word's cost as soon as the word is complete. Rescored,
the best weights gave 31 % WER; decoded, 42 %.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
import yaml
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from khasr.config import DecoderConfig, TuneConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.beam import BeamSearch, lm_file
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.run.folder import decoder_file, keep_folder
from khasr.scoring.significance import Difference, paired_difference
from khasr.text.vocabulary import Vocabulary

# Ranges of the search; the published weights were 0.5 and 1.5, pyctcdecode's pruning is -5 and -10.
ALPHA, BETA, OFFSET = (0.05, 1.5), (-2.0, 6.0), (-20.0, 0.0)


TOKEN, BEAM = (-5.0, -7.0), (-10.0, -14.0)


# Utterances are decoded in so many parts; after each a trial worse than the median of those before it is cut short.
_PARTS = 4


@dataclass
class Tuned:
    """What tuning found.

    Attributes:
        decoder: the winner.
        wer: on val, with the winner; `untuned` with the weights that were given.
        edits: in words, of each utterance with the winner; `edits_untuned` with the weights that were given.
        trials: settings, WER, and the share of the utterances that were decoded with them.
    """

    decoder: DecoderConfig
    wer: float
    untuned: float
    edits: list[int]
    edits_untuned: list[int]
    trials: list[dict[str, Any]]


def tune(
    options: DecoderConfig,
    vocabulary: Vocabulary,
    log_probs: Sequence[NDArray[np.float32]],
    references: Sequence[str],
    *,
    trials: int,
    seed: int,
    tell: Callable[[str], None] = print,
) -> Tuned:
    """The decoder with the lowest WER on these utterances that the search found; the untuned one is the first trial.

    Args:
        options: beam_lm with its language model and beam width; the weights in it are what is compared with.
        log_probs: (frames, vocab) each.
    """
    words = [reference.split() for reference in references]
    # Every part has utterances of all lengths.
    order = np.random.default_rng(seed).permutation(len(references))
    parts = [part for part in np.array_split(order, _PARTS) if len(part)]
    told: list[dict[str, Any]] = []
    decoders: list[DecoderConfig] = []

    search = BeamSearch(options, vocabulary)

    def objective(trial: optuna.Trial) -> float:
        at = replace(
            options,
            alpha=round(trial.suggest_float("alpha", *ALPHA), 3),
            beta=round(trial.suggest_float("beta", *BETA), 3),
            unk_score_offset=round(trial.suggest_float("unk_score_offset", *OFFSET), 2),
            token_min_logp=trial.suggest_categorical("token_min_logp", TOKEN),
            beam_prune_logp=trial.suggest_categorical("beam_prune_logp", BEAM),
        )
        search.weigh(at)
        edits = seen = 0
        for number, part in enumerate(parts):
            texts = search.texts([log_probs[i] for i in part])
            edits += sum(Levenshtein.distance(words[i], text.split()) for i, text in zip(part, texts, strict=True))
            seen += sum(len(words[i]) for i in part)
            trial.report(edits / seen, number)
            if number + 1 < len(parts) and trial.should_prune():
                break
        decoders.append(at)
        told.append({**trial.params, "wer": edits / seen, "decoded": (number + 1) / len(parts)})
        if number + 1 < len(parts):
            raise optuna.TrialPruned
        return edits / seen

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner(n_startup_trials=5)
    )
    first = {"alpha": options.alpha, "beta": options.beta, "unk_score_offset": options.unk_score_offset}
    study.enqueue_trial({**first, "token_min_logp": TOKEN[0], "beam_prune_logp": BEAM[0]})
    study.optimize(objective, n_trials=trials)
    best = study.best_trial.number

    # The winner, once more and whole, as evaluate will decode it.
    def edits_with(decoder: DecoderConfig) -> list[int]:
        search.weigh(decoder)
        texts = search.texts(log_probs)
        return [Levenshtein.distance(w, t.split()) for w, t in zip(words, texts, strict=True)]

    edits, untuned = edits_with(decoders[best]), edits_with(decoders[0])
    wer = sum(edits) / sum(map(len, words))
    whole = sum(t["decoded"] == 1 for t in told)
    tell(f"{len(told)} trials, {whole} of them on all {len(references)} utterances, the others cut short")
    return Tuned(decoders[best], wer, told[0]["wer"], edits, untuned, told)


def tune_run(config: TuneConfig) -> float:
    """Tunes the decoder of a run and returns its WER on val, as a fraction.

    Raises:
        FileNotFoundError: no such run or language model.
    """
    lm = lm_file(config.lm)  # told before anything takes time
    recogniser = load_recogniser(config.run)
    val = recognise_part(recogniser, read_parts(config.data, seed=0)["val"], config.data, keep_folder(config.run))
    start = time.perf_counter()
    options = DecoderConfig(
        name="beam_lm",
        lm=str(lm.parent.resolve() if lm.name == "lm.binary" else lm.resolve()),
        beam_width=config.beam_width,
    )
    tuned = tune(options, recogniser.vocabulary, val.log_probs, val.references, trials=config.trials, seed=config.seed)
    seconds = time.perf_counter() - start
    folder = Path(config.run).expanduser()
    decoder_file(config.run).write_text(yaml.safe_dump(asdict(tuned.decoder), sort_keys=False), encoding="utf-8")
    words = [len(reference.split()) for reference in val.references]
    gained: dict[str, Any] | str
    try:
        difference = paired_difference(tuned.edits, tuned.edits_untuned, words)
        gained, gain = difference._asdict(), describe_gain(difference)
    except ValueError as refused:  # a single utterance
        gained = gain = str(refused)
    told: dict[str, Any] = {
        "wer": tuned.wer, "wer_untuned": tuned.untuned, "difference": gained, "utterances": len(val.ids),
        "seconds": seconds, "seed": config.seed, "trials": tuned.trials,
    }  # fmt: skip
    (folder / "tuning.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    draw_surface(tuned, folder / "tuning.png", f"{folder.name}: WER on val ({len(val.ids)} utterances)")
    print(
        f"val WER {100 * tuned.untuned:.2f} % untuned, {100 * tuned.wer:.2f} % tuned; {len(tuned.trials)} trials on "
        f"{len(val.ids)} utterances in {seconds:.0f} s\n{gain}\n  {decoder_file(config.run)}\n  "
        f"{folder / 'tuning.json'}\n  {folder / 'tuning.png'}"
    )
    return tuned.wer


def describe_gain(gained: Difference) -> str:
    """A sentence on what tuning gave on val, and whether another part can be expected to see it."""
    told = f"tuning gave {100 * gained.value:+.2f} points on val ({100 * gained.low:+.2f} to {100 * gained.high:+.2f})"
    if gained.high < 0:
        return f"{told}; on another part expect less, for these are the weights that fit val best"
    return f"{told}, which may be chance alone: do not expect it of another part"


def draw_surface(tuned: Tuned, path: Path, title: str) -> None:
    """Draws the trials' WER over alpha and beta, a surface between them, and the winner."""
    alphas = np.array([t["alpha"] for t in tuned.trials])
    betas = np.array([t["beta"] for t in tuned.trials])
    # What is far above the best is one colour, or the colours would tell nothing about where the best lie.
    rates = 100 * np.minimum([t["wer"] for t in tuned.trials], tuned.wer + 0.1)
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    whole = np.array([t["decoded"] == 1 for t in tuned.trials])  # the WER of some utterances is not that of all
    if whole.sum() >= 4 and np.ptp(rates[whole]) > 0:
        figure.colorbar(
            axes.tricontourf(alphas[whole], betas[whole], rates[whole], levels=20, cmap="viridis_r"), label="WER, %"
        )
    axes.plot(alphas[whole], betas[whole], ".", color="black", ms=4, label=f"{whole.sum()} trials")
    axes.plot(alphas[~whole], betas[~whole], "x", color="gray", ms=4, label=f"{(~whole).sum()} cut short")
    axes.plot(alphas[0], betas[0], "s", color="white", mec="black", label=f"untuned: {100 * tuned.untuned:.1f} %")
    axes.plot(
        tuned.decoder.alpha, tuned.decoder.beta, "*", color="red", ms=14, label=f"chosen: {100 * tuned.wer:.1f} %"
    )
    axes.set(xlabel="alpha (weight of the language model)", ylabel="beta (bonus for each word)", title=title)
    axes.legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
