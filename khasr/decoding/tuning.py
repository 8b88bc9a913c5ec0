"""The search for alpha, beta, the unknown words' penalty and pruning: each trial a decoding, cut short where bad.

Rescoring n-best lists was tried first and is not what the decoder does: it drops a beam that falls behind, and a beam
falls behind by a whole word's cost as soon as the word is complete. Rescored,
the best weights gave 31 % WER; decoded, 42 %.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from khasr.config import DecoderConfig
from khasr.decoding.beam import BeamSearch
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
