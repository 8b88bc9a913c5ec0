import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from khasr.config import TextConfig
from khasr.lm import build as lm_build
from khasr.lm import kenlm as kenlm_module
from khasr.lm.arpa import Ngrams, interpolate, log_probability, read_arpa, tune_weight, write_arpa
from khasr.lm.build import build_lm
from khasr.lm.kenlm import build_ngrams, find_kenlm_command, measure
from khasr.lm.sources import adapt_text_options, leave_out, read_source

has_lmplz = (Path(sys.executable).parent / "lmplz").is_file()
needs_lmplz = pytest.mark.skipif(not has_lmplz, reason="make lmplz builds it; make test does so first")
WORDS = "ក ខ គ ឃ ង ច ឆ ជ".split()


def sentences(count: int, seed: int, words: list[str] = WORDS) -> list[str]:
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, len(words) + 1)
    return [" ".join(rng.choice(words, rng.integers(2, 8), p=shares / shares.sum())) for _ in range(count)]


def built(folder: Path, name: str, texts: list[str], order: int = 3) -> Ngrams:
    (folder / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    build_ngrams(folder / f"{name}.txt", folder / f"{name}.arpa", order, [0, 0, 1], memory="100M")
    return read_arpa(folder / f"{name}.arpa")


def sums(model: Ngrams) -> list[float]:
    """What the probabilities of all words sum to, after each context of one word and after none."""
    contexts = [(), *((w,) for (w,) in model.orders[0] if w != "</s>")]
    return [sum(10 ** log_probability(model, (*c, w)) for (w,) in model.orders[0] if w != "<s>") for c in contexts]


@needs_lmplz
def test_lmplz_is_deterministic(tmp_path: Path) -> None:
    # kenlm-ex 0.2.1 as it comes reads an option that nothing sets, and at random writes other numbers.
    texts = sentences(300, 0)
    models = [built(tmp_path, f"m{i}", texts).orders for i in range(4)]
    assert all(m == models[0] for m in models)
    assert max(p for order in models[0] for p, _ in order.values()) <= 0
    assert sums(Ngrams(models[0])) == pytest.approx([1] * (len(models[0][0]) - 0), abs=1e-4)


@needs_lmplz
def test_interpolate(tmp_path: Path) -> None:
    one = built(tmp_path, "one", sentences(200, 1))
    other = built(tmp_path, "other", sentences(200, 2, [*WORDS[::-1], "ញ"]))
    mixed = interpolate(one, other, 0.3)
    assert sums(mixed) == pytest.approx([1] * len(mixed.orders[0]), abs=1e-4)
    for words in list(one.orders[1])[:20]:
        expected = 0.3 * 10 ** log_probability(one, words) + 0.7 * 10 ** log_probability(other, words)
        assert 10 ** log_probability(mixed, words) == pytest.approx(expected, rel=1e-4)
    assert 10 ** mixed.orders[0][("ញ",)][0] == pytest.approx(0.7 * 10 ** other.orders[0][("ញ",)][0])


@needs_lmplz
def test_tune_weight(tmp_path: Path) -> None:
    one, other = built(tmp_path, "one", sentences(300, 3)), built(tmp_path, "other", sentences(300, 4, WORDS[::-1]))
    val = sentences(60, 5) + sentences(20, 6, WORDS[::-1])
    weight = tune_weight(one, other, val)
    assert 0.6 < weight < 0.95

    def perplexity(w: float) -> float:
        write_arpa(interpolate(one, other, w), tmp_path / "mixed.arpa")
        return measure(tmp_path / "mixed.arpa", val).perplexity

    best = perplexity(weight)
    assert best < min(perplexity(0.02), perplexity(0.98), perplexity(weight - 0.15))


def test_missing_lmplz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kenlm_module.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"lmplz is not installed.*make lmplz"):
        find_kenlm_command("lmplz")


def test_read_source(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("ខ្ញុំ ទៅ។ គាត់ មាន 2 នាក់!\nខ្ញុំ ទៅ ផ្សារ\n\n", encoding="utf-8")
    transcripts = ["ខ្ញុំ ទៅ ផ្សារ"]
    options = adapt_text_options(TextConfig(), transcripts)
    held_out = {"val": ["ខ្ញុំទៅ ផ្សារ"], "test": []}
    source = read_source(path, options, held_out, segment="never")
    assert source.sentences == ["ខ្ញុំ ទៅ", "គាត់ មាន ពីរ នាក់"]
    assert source.held_out == {"val": 1, "test": 0}
    kept = read_source(path, options, held_out, segment="never", keep_held_out=True)
    assert kept.sentences[-1] == "ខ្ញុំ ទៅ ផ្សារ"
    assert kept.held_out == {"val": 1, "test": 0}
    assert leave_out([*transcripts, "ក"], held_out) == (["ក"], {"val": 1, "test": 0})


def test_segment_auto(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("ខ្ញុំចង់ទៅសាលារៀននៅថ្ងៃនេះ\n", encoding="utf-8")
    source = read_source(path, TextConfig(), {})
    assert source.segmented
    assert len(source.sentences[0].split()) > 3
    path.write_text("ខ្ញុំ ចង់ ទៅ សាលារៀន\n", encoding="utf-8")
    assert not read_source(path, TextConfig(), {}).segmented


def test_adapt_text_options(tmp_path: Path) -> None:
    assert adapt_text_options(TextConfig(), ["ក 1"]).numbers == "keep"
    assert adapt_text_options(TextConfig(), ["ក"]).numbers == "words"


@needs_lmplz
@pytest.mark.parametrize("unit", ["word", "character"])
def test_build_lm(tmp_path: Path, unit: str) -> None:
    (tmp_path / "a (b).txt").write_text("\n".join([*sentences(200, 7), "ក ខ គ ឃ"]) + "\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text("ក ខ គ ឃ\nញ ក\n", encoding="utf-8")
    arguments = argparse.Namespace(
        files=[tmp_path / "a (b).txt"], out=tmp_path / "lm", run=None, order=3, prune=[0, 0, 1], unit=unit, spelling=5,
        transcripts="interpolate", segment="auto", val=tmp_path / "val.txt", test=None, keep_held_out=False, memory="100M",
    )  # fmt: skip
    build_lm(arguments)
    files = {"lm.arpa", "lm.binary", "unigrams.txt", "lm.json", *(["spelling.npz"] if unit == "word" else [])}
    assert {p.name for p in (tmp_path / "lm").iterdir()} == files
    described = json.loads((tmp_path / "lm" / "lm.json").read_text(encoding="utf-8"))
    words = set((tmp_path / "lm" / "unigrams.txt").read_text(encoding="utf-8").split())
    assert words == {*WORDS, *(["|"] if unit == "character" else [])}
    assert described["counts"][0] == len(words) + 3
    assert described["sources"][0]["sentences_of"]["val"] >= 1
    assert described["val"]["oov"] == pytest.approx(1 / 6 if unit == "word" else 1 / 10)
    assert described["val"]["perplexity"] > 1


def lm_arguments(folder: Path, **changes: Any) -> argparse.Namespace:
    """Arguments of build_lm that build folder/lm from folder/text.txt."""
    options: dict[str, Any] = {
        "files": [folder / "text.txt"], "out": folder / "lm", "run": None, "order": 2, "prune": [0], "unit": "word", "spelling": 0,
        "transcripts": "interpolate", "segment": "auto", "val": None, "test": None, "keep_held_out": False,
        "memory": "100M",
    }  # fmt: skip
    return argparse.Namespace(**options | changes)


@pytest.mark.parametrize("order", [-1, 0, 1, 7])
def test_order(order: int, tmp_path: Path) -> None:
    """KenLM does not read models of order 1."""
    with pytest.raises(ValueError, match=rf"--order {order}: expected 2 to 6"):
        build_lm(lm_arguments(tmp_path, order=order))
    assert list(tmp_path.iterdir()) == []


@needs_lmplz
@pytest.mark.parametrize("prune", [[-1], [1, 2], [0, 2, 1]])
def test_prune(prune: list[int], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"--prune [-\d ]+: expected counts of 0 or more that do not decrease, the first 0"
    ):
        build_lm(lm_arguments(tmp_path, prune=prune))
    assert list(tmp_path.iterdir()) == []


@needs_lmplz
@pytest.mark.parametrize("existing", [False, True])
def test_build_is_whole_or_absent(existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted build leaves the folder as it was, and no temporary files."""
    (tmp_path / "text.txt").write_text("ក ខ\n" * 9, encoding="utf-8")
    if existing:
        build_lm(lm_arguments(tmp_path))
        (tmp_path / "lm" / "notes.txt").touch()
    before = {p.name: p.read_bytes() for p in (tmp_path / "lm").glob("*")}
    (tmp_path / ".lm.partial").mkdir()  # of a build that was killed
    (tmp_path / ".lm.partial" / "lm.arpa").write_text("cut")
    (tmp_path / "text.txt").write_text("គ ខ\n" * 9, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(lm_build, "build_binary", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_lm(lm_arguments(tmp_path))
    assert {p.name: p.read_bytes() for p in (tmp_path / "lm").glob("*")} == before
    assert not (tmp_path / ".lm.partial").exists()
    build_lm(lm_arguments(tmp_path))
    assert (tmp_path / "lm/unigrams.txt").read_text(encoding="utf-8").split() == ["គ", "ខ"]
    assert (tmp_path / "lm/notes.txt").exists() == existing


LINES = {
    "LF": ("ក ខ\nគ ឃ\n", ["ក ខ", "គ ឃ"]),
    "CRLF": ("ក ខ\r\nគ ឃ\r\n", ["ក ខ", "គ ឃ"]),
    "CR": ("ក ខ\rគ ឃ\r", ["ក ខ", "គ ឃ"]),
    "U+2028": ("ក ខ\u2028គ ឃ\n", ["ក ខ គ ឃ"]),
    "U+0085": ("ក ខ\u0085គ ឃ\n", ["ក ខ គ ឃ"]),
    "vertical tab": ("ក ខ\vគ ឃ\n", ["ក ខ គ ឃ"]),
    "form feed": ("ក ខ\fគ ឃ\n", ["ក ខ គ ឃ"]),
}


@pytest.mark.parametrize("ending", LINES)
def test_line_ends(ending: str, tmp_path: Path) -> None:
    text, expected = LINES[ending]
    (tmp_path / "text.txt").write_bytes(text.encode())
    assert read_source(tmp_path / "text.txt", TextConfig(), {}, segment="never").sentences == expected
