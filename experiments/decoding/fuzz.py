"""Compares the compiled search with pyctcdecode on random vocabularies, models, log-probabilities and pruning.

python experiments/decoding/fuzz.py [SECONDS] [SEED]

Compares the texts of all beams, the frames of their words, and both scores.
"""

import itertools
import logging
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyctcdecode import build_ctcdecoder

from khasr.decoding.compiled.search import CompiledSearch
from khasr.lm.arpa import Ngrams, write_arpa

seconds, seed = (float(sys.argv[1]) if sys.argv[1:] else 60.0), int((sys.argv[2:] or ["0"])[0])
logging.disable(logging.CRITICAL)  # pyctcdecode warns about each small model
draw, rng = random.Random(seed), np.random.default_rng(seed)
VOCABULARIES = [
    ["", "⁇", " ", "a", "b", "c"], ["", "⁇", " ", "a", "b", "ab", "bc"], ["", "▁⁇▁", "▁|", "▁a", "▁b", "▁c"],
    ["", "a", "b"], [""], ["", " "], ["", "⁇", " ", "ក្ក", "😀", "😀a", "a"], ["", "x"],
]  # fmt: skip


def random_model(words: list[str], path: Path) -> str:
    """A trigram model of these words with random numbers; not named .arpa, from which pyctcdecode reads the words."""
    known, ngrams = ["<s>", "</s>", "<unk>", *words], Ngrams()
    ngrams.orders.append({(w,): (draw.uniform(-3, -0.1), draw.uniform(-1, 0)) for w in known})
    for n in (2, 3):
        every = [
            c for c in itertools.product(known, repeat=n)
            if "<s>" not in c[1:] and "</s>" not in c[:-1] and "<unk>" not in c
            and (n == 2 or (c[:2] in ngrams.orders[1] and c[1:] in ngrams.orders[1]))
        ]  # fmt: skip
        some = draw.sample(every, min(40, len(every)))
        ngrams.orders.append({c: (draw.uniform(-3, -0.1), draw.uniform(-1, 0)) for c in some})
    write_arpa(ngrams, path)
    return str(path)


def random_words(labels: list[str]) -> list[str]:
    if any(label.startswith("▁") for label in labels):
        return ["|", "a", "b"]
    letters = [label for label in labels if label not in ("", "⁇", " ")] or ["q"]
    return sorted({"".join(draw.choices(letters, k=draw.randint(1, 5))) for _ in range(6)})


def random_utterance(labels: int) -> NDArray[np.float32]:
    frames = draw.choice([0, 1, 2, 5, 20, 60])
    logits = rng.normal(0, draw.choice([0.3, 1, 4, 15]), (frames, labels))
    if frames and draw.random() < 0.5:  # symbols that last several frames, as in a trained model
        symbols = np.repeat(rng.integers(0, labels, frames) * rng.integers(0, 2, frames), 3)[:frames]
        logits[np.arange(frames), symbols] += draw.choice([2, 14])
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def close(one: Any, other: Any) -> bool:
    return one[0] == other[0] and np.allclose(one[1:], other[1:], atol=1e-2)


cases = differ = 0
end = time.monotonic() + seconds
with tempfile.TemporaryDirectory() as folder:
    while time.monotonic() < end:
        labels = draw.choice(VOCABULARIES)
        options: dict[str, Any] = {}
        kind = draw.choice(["no model", "no list", "list", "short list", "longer list"])
        if kind != "no model":
            words = random_words(labels)
            options = {
                "kenlm_model_path": random_model(words, Path(folder) / "random.lm"),
                "unigrams": {"no list": None, "list": words, "short list": words[::2]}.get(kind, [*words, "zz"]),
                "alpha": draw.choice([0.0, 0.7, 2.0]), "beta": draw.choice([-2.0, 0.0, 1.1, 6.0]),
                "unk_score_offset": draw.choice([-20.0, -4.0, 0.0, 3.0]),
            }  # fmt: skip
        theirs = build_ctcdecoder(labels, **options)
        closed, own = kind == "list" and draw.random() < 0.5, labels[1:2] == ["▁⁇▁"]
        ours = CompiledSearch(labels, **options, closed=closed, symbol_words=own)
        for _ in range(6):
            rows = random_utterance(len(labels))
            pruning = {
                "beam_width": draw.choice([1, 2, 5, 30, 120]),
                "beam_prune_logp": draw.choice([0.0, -0.5, -3.0, -10.0, -25.0, -1000.0]),
                "token_min_logp": draw.choice([0.0, -0.1, -2.0, -5.0, -20.0, -40.0]),
            }
            for prune_history in (False, True):
                expected = theirs.decode_beams(rows, prune_history=prune_history, **pruning)
                found = ours.decode_beams(rows, prune_history=prune_history, **pruning)
                beams = [{text: beam for text, _, *beam in each} for each in (expected, found)]
                apart = [
                    (text, *(each.get(text) for each in beams))
                    for text in beams[0].keys() | beams[1].keys()
                    if not all(text in each for each in beams) or not close(*(each[text] for each in beams))
                ]
                cases, differ = cases + 1, differ + bool(apart)
                if apart:
                    print(f"{labels}, {kind}, {options}, {pruning}, prune_history={prune_history}: {apart}", flush=True)
print(f"{cases:,} cases, {differ} differ")
