"""The spelling model: its automaton has the probabilities of the n-grams, and the search adds them to its scores."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import kenlm
import numpy as np
import pytest

from khasr.config import DecoderConfig
from khasr.decoding.beam import BeamSearch
from khasr.decoding.compiled.search import CompiledSearch
from khasr.decoding.compiled.tables import letter_slots, spell_letter
from khasr.lm.arpa import Ngrams, log_probability, write_arpa
from khasr.lm.kenlm import build_binary, file_digest
from khasr.lm.spelling import BEGIN, LAST, read_spelling, spelling_of, write_spelling
from khasr.text.vocabulary import Vocabulary
from tests.decoding.test_compiled import CLUSTERS, LETTERS, PRUNING, utterances, write_trigrams
from tests.lm.test_lm import needs_lmplz

WORDS = ["a", "ab", "abc", "bab", "cacb"]
LN10 = math.log(10)


def random_letters(order: int) -> Ngrams:
    """An n-gram of a, b and the space, in which each n-gram's beginning and end are n-grams too."""
    draw, letters = np.random.default_rng(order), ["a", "b", "|"]
    ngrams = Ngrams([{(w,): (-draw.uniform(0.1, 3), -draw.uniform(0, 1)) for w in ["<s>", "</s>", "<unk>", *letters]}])
    for n in range(2, order + 1):
        every = [g for g in itertools.product(["<s>", *letters, "</s>"], repeat=n)
                 if "<s>" not in g[1:] and "</s>" not in g[:-1] and g[:-1] in ngrams.orders[-1]
                 and g[1:] in ngrams.orders[-1]]  # fmt: skip
        some = sorted(draw.choice(len(every), len(every) * 4 // 5, replace=False))
        ngrams.orders.append({every[i]: (-draw.uniform(0.1, 3), -draw.uniform(0, 1)) for i in some})
    return ngrams


def spelt(ngrams: Ngrams, text: str) -> float:
    """ln P of a text, without the search's bonus for each letter."""
    words = ("<s>", *("|" if c == " " else c for c in text), "</s>")
    return LN10 * sum(log_probability(ngrams, words[:i]) for i in range(2, len(words) + 1))


def scored(ngrams: Ngrams, text: str) -> float:
    """The score of a text's letters in the search, with a bonus of 0.9 for each letter, space and end."""
    return spelt(ngrams, text) + 0.9 * (len(text) + 1)


@pytest.mark.parametrize("order", [2, 3, 7])
def test_probabilities(order: int, tmp_path: Path) -> None:
    """ln P of texts, with letters that the model does not have, is that of the ARPA file."""
    ngrams = random_letters(order)
    write_arpa(ngrams, tmp_path / "letters.arpa")
    write_spelling(spelling_of(tmp_path / "letters.arpa"), tmp_path / "letters.npz")
    spelling = read_spelling(tmp_path / "letters.npz")
    slots = letter_slots(spelling.letters)
    draw = np.random.default_rng(0)
    for length in range(12):
        text = "".join(draw.choice(["a", "b", " ", "x"], length, p=[0.4, 0.3, 0.2, 0.1]))
        total, state = 0.0, BEGIN
        for point in [*map(ord, text), LAST]:
            logp, state = spell_letter(state, point, 0.0, slots, spelling.contexts)
            total += logp
        assert total == pytest.approx(spelt(ngrams, text), abs=1e-4)


@pytest.mark.parametrize("labels", [LETTERS, CLUSTERS], ids=["letters", "clusters"])
@pytest.mark.parametrize("words", [True, False])
def test_scores(words: bool, labels: list[str], tmp_path: Path) -> None:
    """The score of each beam is that of its letters, its words and its spelling."""
    ngrams = random_letters(4)
    write_arpa(ngrams, tmp_path / "letters.arpa")
    lm = write_trigrams(tmp_path / "trigrams.lm", WORDS)
    options: dict[str, Any] = {"alpha": 0.7, "beta": 1.1, "unk_score_offset": -2.0, "spelling_weight": 0.6,
        "spelling_bonus": 0.9}  # fmt: skip
    if words:
        options |= {"kenlm_model_path": lm, "unigrams": WORDS, "closed": True}
    search = CompiledSearch(labels, spelling=spelling_of(tmp_path / "letters.arpa"), **options)
    model = kenlm.Model(lm)
    seen = 0
    for rows in utterances(len(labels), 8):
        for text, _, found, ctc, score in search.decode_beams(rows, prune_history=True, **PRUNING):
            total = ctc + 1.1 * len(found) + 0.6 * scored(ngrams, text)
            if words:
                state, after = kenlm.State(), kenlm.State()
                model.BeginSentenceWrite(state)
                for word in [*text.split(), "</s>"]:
                    total += 0.7 * LN10 * model.BaseScore(state, word, after)
                    state, after = after, state
            assert score == pytest.approx(total, abs=2e-3)
            seen += 1
    assert seen > 100


def write_folder(folder: Path) -> str:
    """A folder as of build_lm with a spelling model."""
    write_arpa(random_letters(4), folder / "letters.arpa")
    write_spelling(spelling_of(folder / "letters.arpa"), folder / "spelling.npz")
    build_binary(Path(write_trigrams(folder / "lm.arpa", WORDS)), folder / "lm.binary")
    (folder / "unigrams.txt").write_text("\n".join(WORDS), encoding="utf-8")
    names = ("lm.binary", "unigrams.txt", "spelling.npz")
    described = {"words": len(WORDS), "spelling": {"order": 4}, "xxh3": {n: file_digest(folder / n) for n in names}}
    (folder / "lm.json").write_text(json.dumps(described), encoding="utf-8")
    return str(folder)


@needs_lmplz
def test_folder(tmp_path: Path) -> None:
    """decoder.spelling weighs the model of the folder; with 0 the results are those without it, and of pyctcdecode."""
    vocabulary = Vocabulary.of_texts(["ab c"])
    rows = utterances(len(vocabulary), 10)
    lm = write_folder(tmp_path)
    decoder = DecoderConfig(name="beam_lm", lm=lm)
    with_spelling = BeamSearch(decoder, vocabulary).texts(rows)
    decoder.spelling = 0.0
    search = BeamSearch(decoder, vocabulary)
    without = search.texts(rows)
    assert with_spelling != without
    decoder.spelling = DecoderConfig().spelling
    search.weigh(decoder)
    assert search.texts(rows) == with_spelling
    decoder.backend = "pyctcdecode"
    with pytest.raises(ValueError, match=r"backend=pyctcdecode cannot use .*spelling\.npz; decoder\.spelling=0"):
        BeamSearch(decoder, vocabulary)
    decoder.spelling = 0.0
    assert BeamSearch(decoder, vocabulary).texts(rows[:2]) == without[:2]


@needs_lmplz
@pytest.mark.parametrize(
    ("damage", "message"),
    [("missing", r"spelling\.npz is missing; .*build_lm"), ("cut", r"spelling\.npz was damaged or replaced"),
     ("text", "is not a spelling model")],
)  # fmt: skip
def test_damaged(damage: str, message: str, tmp_path: Path) -> None:
    file = Path(write_folder(tmp_path)) / "spelling.npz"
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        file.write_text("text", encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_spelling(file)
        return
    with pytest.raises(ValueError, match=message):
        BeamSearch(DecoderConfig(name="beam_lm", lm=str(tmp_path)), Vocabulary.of_texts(["ab c"]))
