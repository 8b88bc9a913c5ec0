"""The compiled search gives the same results as pyctcdecode."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyctcdecode import build_ctcdecoder

from khasr.config import DecoderConfig
from khasr.decoding.beam import BeamSearch
from khasr.decoding.compiled import search as compiled
from khasr.decoding.compiled import tables
from khasr.decoding.compiled.search import CompiledSearch
from khasr.text.vocabulary import Vocabulary

LETTERS = ["", "⁇", " ", "a", "b", "c"]
# "ab" can be one symbol or two, so a word has several spellings.
CLUSTERS = ["", "⁇", " ", "a", "b", "ab", "bc"]
WORDS = ["", "▁⁇▁", "▁|", "▁a", "▁b", "▁c"]
PRUNING: dict[str, Any] = {"beam_width": 30, "beam_prune_logp": -10.0, "token_min_logp": -5.0}


def write_trigrams(path: Path, words: list[str]) -> str:
    """A trigram model of these words with random numbers."""
    rng = np.random.default_rng(0)
    known = ["<s>", "</s>", "<unk>", *words]
    orders: list[list[tuple[str, ...]]] = [[(w,) for w in known]]
    for n in (2, 3):
        every = [c for c in itertools.product(known, repeat=n) if "<s>" not in c[1:] and "</s>" not in c[:-1]]
        every = [c for c in every if "<unk>" not in c and (n == 2 or (c[:2] in orders[1] and c[1:] in orders[1]))]
        orders.append([every[i] for i in sorted(rng.choice(len(every), min(40, len(every)), replace=False))])
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n" + "".join(f"ngram {n}={len(g)}\n" for n, g in enumerate(orders, 1)))
        for n, grams in enumerate(orders, 1):
            file.write(f"\n\\{n}-grams:\n")
            for gram in grams:
                backoff = f"\t{rng.uniform(-1, 0):.3f}" if n < 3 else ""
                file.write(f"{rng.uniform(-3, -0.1):.3f}\t{' '.join(gram)}{backoff}\n")
        file.write("\n\\end\\\n")
    return str(path)


def utterances(labels: int, count: int, frames: int = 15) -> list[NDArray[np.float32]]:
    """Log-probabilities like those of a trained model: symbols last several frames, and most frames are unambiguous."""
    rng = np.random.default_rng(labels)
    found = []
    for _ in range(count):
        symbols = np.repeat(rng.integers(0, labels, frames) * rng.integers(0, 2, frames), rng.integers(1, 6, frames))
        logits = rng.normal(0, 1, (len(symbols), labels))
        logits[np.arange(len(symbols)), symbols] += rng.choice([2.0, 14.0], len(symbols), p=[0.3, 0.7])
        found.append((logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32))
    return found


def assert_same(ours: CompiledSearch, theirs: Any, rows: NDArray[np.float32], **pruning: Any) -> None:
    assert ours.decode(rows, **pruning) == theirs.decode(rows, **pruning)
    for prune_history in (False, True):
        expected = theirs.decode_beams(rows, prune_history=prune_history, **pruning)
        found = ours.decode_beams(rows, prune_history=prune_history, **pruning)
        # Beams with nearly equal scores may be in a different order.
        assert {b[0]: b[2] for b in found} == {b[0]: b[2] for b in expected}
        scores = {b[0]: b[3:] for b in expected}
        assert {b[0]: b[3:] for b in found} == {text: pytest.approx(pair, abs=1e-3) for text, pair in scores.items()}
        assert [b[4] for b in found] == sorted((b[4] for b in found), reverse=True)


@pytest.mark.parametrize("labels", [LETTERS, CLUSTERS, WORDS], ids=["letters", "clusters", "words"])
@pytest.mark.parametrize("lm", ["none", "without a list", "with a list", "with a short list"])
def test_same_as_pyctcdecode(labels: list[str], lm: str, tmp_path: Path) -> None:
    words = ["|", "a", "b"] if labels is WORDS else ["a", "ab", "abc", "bab", "cacb", "bcbcbcbc"]
    options: dict[str, Any] = {}
    if lm != "none":
        unigrams = {"without a list": None, "with a list": words, "with a short list": words[::2]}[lm]
        # Not named .arpa, because pyctcdecode would read the words from it.
        path = write_trigrams(tmp_path / "trigrams.lm", words)
        options = {"kenlm_model_path": path, "unigrams": unigrams, "alpha": 0.7, "beta": 1.1, "unk_score_offset": -4.0}
    theirs = build_ctcdecoder(labels, **options)
    options["symbol_words"] = labels is WORDS
    # A complete list may be declared closed: the model has no other words.
    for closed in (False, True) if lm == "with a list" else (False,):
        ours = CompiledSearch(labels, **options, closed=closed)
        for rows in utterances(len(labels), 12):
            assert_same(ours, theirs, rows, **PRUNING)


@pytest.mark.parametrize("width", [1, 3, 9, 200])
def test_beam_widths(width: int, tmp_path: Path) -> None:
    words = ["a", "ab", "abc", "bab", "cacb"]
    options: dict[str, Any] = {"kenlm_model_path": write_trigrams(tmp_path / "trigrams.lm", words), "unigrams": words}
    ours, theirs = CompiledSearch(LETTERS, **options), build_ctcdecoder(LETTERS, **options)
    for rows in utterances(len(LETTERS), 3 if width == 200 else 20, frames=30):
        assert_same(ours, theirs, rows, beam_width=width, beam_prune_logp=-25.0, token_min_logp=-20.0)


def test_workspace_grows_and_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["a", "ab", "abc", "bab", "cacb"]
    options: dict[str, Any] = {"kenlm_model_path": write_trigrams(tmp_path / "trigrams.lm", words), "unigrams": words}
    rows = utterances(len(LETTERS), 4, frames=40)
    expected = [CompiledSearch(LETTERS, **options).decode_beams(r, **PRUNING) for r in rows]
    monkeypatch.setattr(compiled, "_SMALLEST", 8)
    grown = [0]
    grow = compiled._Workspace.grow

    def count(self: Any) -> None:
        grown[0] += 1
        grow(self)

    monkeypatch.setattr(compiled._Workspace, "grow", count)
    small = CompiledSearch(LETTERS, **options)
    assert [small.decode_beams(r, **PRUNING) for r in rows] == expected
    assert grown[0] > 5
    monkeypatch.setattr(compiled, "_MOST_KEPT", 0)
    assert [small.decode_beams(r, **PRUNING) for r in rows] == expected


def test_weigh(tmp_path: Path) -> None:
    words = ["a", "ab", "abc", "bab", "cacb"]
    lm = write_trigrams(tmp_path / "lm.binary", words)
    (tmp_path / "unigrams.txt").write_text("\n".join(words), encoding="utf-8")
    vocabulary = Vocabulary.of_texts(["ab c"])
    rows = utterances(len(vocabulary), 40)
    one, other = (DecoderConfig(name="beam_lm", lm=lm, alpha=a, beta=b) for a, b in ((0.5, 1.5), (2.0, -1.0)))
    search = BeamSearch(one, vocabulary)
    before = search.texts(rows)
    search.weigh(other)
    assert search.texts(rows) == BeamSearch(other, vocabulary).texts(rows) != before
    search.weigh(one)
    assert search.texts(rows) == before


def test_widths_of_one_search() -> None:
    search, rows = CompiledSearch(LETTERS), utterances(len(LETTERS), 3)
    for width in (2, 400, 1, 50):
        pruning = {"beam_width": width, "beam_prune_logp": -30.0, "token_min_logp": -30.0}
        expected = [CompiledSearch(LETTERS).decode_beams(r, **pruning) for r in rows]
        assert [search.decode_beams(r, **pruning) for r in rows] == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [(np.zeros((3, 5), np.float32), r"\(frames, 6\)"), (np.full((3, 6), np.nan, np.float32), "not numbers")],
)
def test_bad_log_probs(rows: NDArray[np.float32], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompiledSearch(LETTERS).decode(rows, **PRUNING)


@pytest.mark.parametrize(
    "change",
    [{"unk_score_offset": -np.inf}, {"alpha": np.nan}, {"beta": np.inf}, {"beam_prune_logp": 10.0},
     {"token_min_logp": np.nan}],
)  # fmt: skip
def test_bad_weights_and_pruning(change: dict[str, float], tmp_path: Path) -> None:
    lm = write_trigrams(tmp_path / "lm.binary", ["a", "ab"])
    (name,) = change
    with pytest.raises(ValueError, match=f"{name}=.*expected"):
        BeamSearch(DecoderConfig(name="beam_lm", lm=lm, **change), Vocabulary.of_texts(["ab c"]))
    search = CompiledSearch(LETTERS, lm, ["a", "ab"])
    with pytest.raises(ValueError, match=f"{name}=.*expected"):
        if "logp" in name:
            search.decode(utterances(len(LETTERS), 1)[0], **PRUNING | change)
        else:
            search.reset_params(**{"alpha": 1.0, "beta": 1.0, "unk_score_offset": -1.0} | change)


def test_lowest_log_probability() -> None:
    rows = np.array([[-0.01, -40, -5, -5.5, -60, -70]], np.float32)
    pruning = PRUNING | {"token_min_logp": -36.0, "beam_prune_logp": -50.0}
    found = CompiledSearch(LETTERS).decode_beams(rows, **pruning)
    assert len(found) == len(build_ctcdecoder(LETTERS).decode_beams(rows, **pruning)) == 5


def test_long_word() -> None:
    rows = np.full((3000, len(LETTERS)), -20.0, np.float32)
    rows[np.arange(3000), 3 + np.arange(3000) % 3] = 0.0
    assert CompiledSearch(LETTERS).decode(rows, **PRUNING) == "abc" * 1000


def test_sentencepiece_mark_as_letter() -> None:
    vocabulary = Vocabulary.of_texts(["ab ▁c"])
    path = [vocabulary.symbols.index(symbol) for symbol in "ab▁ c▁"]
    rows = np.full((len(path), len(vocabulary)), -20.0, np.float32)
    rows[np.arange(len(path)), path] = 0.0
    assert BeamSearch(DecoderConfig(name="beam"), vocabulary).texts([rows]) == ["ab▁ c▁"]


def test_many_queries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["".join(w) for n in (1, 2, 3) for w in itertools.product("abc", repeat=n)]
    options: dict[str, Any] = {"kenlm_model_path": write_trigrams(tmp_path / "lm", words), "unigrams": words}
    rows = np.log(np.full((12, len(LETTERS)), 1 / len(LETTERS), np.float32))
    pruning = {"beam_width": 2000, "beam_prune_logp": -100.0, "token_min_logp": -30.0}
    expected = CompiledSearch(LETTERS, **options).decode(rows, **pruning)
    monkeypatch.setattr(compiled, "_SMALLEST", 2)
    assert CompiledSearch(LETTERS, **options).decode(rows, **pruning) == expected


@pytest.mark.parametrize("frames", [0, 1])
def test_few_frames(frames: int) -> None:
    rows = np.log(np.full((frames, len(LETTERS)), 1 / len(LETTERS), np.float32))
    assert isinstance(CompiledSearch(LETTERS).decode(rows, **PRUNING), str)
    rows = np.full((frames, len(LETTERS)), -np.inf, np.float32)
    assert CompiledSearch(LETTERS).decode(rows, **PRUNING) == ""


def test_threads(tmp_path: Path) -> None:
    lm = write_trigrams(tmp_path / "lm.binary", ["a", "ab", "abc", "bab", "cacb"])
    vocabulary = Vocabulary.of_texts(["ab c"])
    rows = utterances(len(vocabulary), 200)
    search = BeamSearch(DecoderConfig(name="beam_lm", lm=lm), vocabulary)
    search._threads = 4
    many = search.texts(rows)
    search._threads = 1
    assert search.texts(rows) == many


def test_prefix_keys() -> None:
    points = np.array([ord(c) for c in "abac"], np.uint32)
    begun, whole = tables.prefix_keys(points, np.array([2, 4]))
    assert (len(begun), len(whole)) == (3, 2)  # a, ab, ac
    assert set(whole) < set(begun)


def test_edited_unigram_list(tmp_path: Path) -> None:
    words = ["a", "ab", "abc", "bab", "cacb"]
    lm = write_trigrams(tmp_path / "lm.binary", words)
    (tmp_path / "lm.json").write_text(json.dumps({"words": len(words)}), encoding="utf-8")
    closed = []
    for listed in (words, words[:-1], [*words[:-1], "cc"]):
        (tmp_path / "unigrams.txt").write_text("\n".join(listed), encoding="utf-8")
        search = BeamSearch(DecoderConfig(name="beam_lm", lm=lm), Vocabulary.of_texts(["ab c"]))
        closed.append(search._search._closed)
    assert closed == [True, False, False]
