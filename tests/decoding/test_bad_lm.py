"""Damaged folders of language models are refused in one paragraph that names the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from khasr.config import DecoderConfig
from khasr.decoding.beam import BeamSearch
from khasr.lm.kenlm import build_binary, file_digest
from khasr.text.vocabulary import Vocabulary
from tests.decoding.test_compiled import write_trigrams
from tests.lm.test_lm import needs_lmplz

WORDS = ["a", "ab", "abc", "bab", "cacb"]


def _cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _invert(path: Path) -> None:
    """Inverts a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "lm.binary empty": (lambda folder: _cut(folder / "lm.binary", 0), r"not a complete KenLM model.*build_lm"),
    "lm.binary cut at its header": (lambda folder: _cut(folder / "lm.binary", 0.02), "not a complete KenLM model"),
    "lm.binary cut": (lambda folder: _cut(folder / "lm.binary", 0.5), "not a complete KenLM model"),
    "lm.binary cut at its end": (lambda folder: _cut(folder / "lm.binary", 0.99), "not a complete KenLM model"),
    "lm.binary changed": (lambda folder: _invert(folder / "lm.binary"), r"lm\.binary was damaged or replaced"),
    "unigrams.txt empty": (lambda folder: _cut(folder / "unigrams.txt", 0), r"unigrams\.txt was damaged or replaced"),
    "lm.binary is text": (lambda folder: (folder / "lm.binary").write_text("words\n"), "not a complete KenLM model"),
    "unigrams.txt missing": (lambda folder: (folder / "unigrams.txt").unlink(), r"unigrams\.txt is missing"),
    "unigrams.txt not UTF-8": (
        lambda folder: (folder / "unigrams.txt").write_bytes(b"a\nb\xff\n"),
        r"unigrams\.txt was damaged",
    ),
    "lm.json cut": (lambda folder: _cut(folder / "lm.json", 0.5), r"lm\.json is not complete"),
    "lm.json empty": (lambda folder: _cut(folder / "lm.json", 0), r"lm\.json is not complete"),
    "lm.json a list": (lambda folder: (folder / "lm.json").write_text("[]"), r"lm\.json contains list"),
}


@needs_lmplz
@pytest.mark.parametrize("backend", ["compiled", "pyctcdecode"])
@pytest.mark.parametrize("damage", ["none", *DAMAGES])
def test_damaged(damage: str, backend: str, tmp_path: Path) -> None:
    build_binary(Path(write_trigrams(tmp_path / "lm.arpa", WORDS)), tmp_path / "lm.binary")
    (tmp_path / "unigrams.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    (tmp_path / "lm.json").write_text(
        json.dumps(
            {
                "unit": "word",
                "words": len(WORDS),
                "bytes": (tmp_path / "lm.binary").stat().st_size,
                "xxh3": {name: file_digest(tmp_path / name) for name in ("lm.binary", "unigrams.txt")},
            }
        ),
        encoding="utf-8",
    )
    options = DecoderConfig(name="beam_lm", lm=str(tmp_path), backend=backend)  # type: ignore[arg-type]
    if damage == "none":
        BeamSearch(options, Vocabulary.of_texts(["ab c"]))
        return
    change, message = DAMAGES[damage]
    change(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        BeamSearch(options, Vocabulary.of_texts(["ab c"]))
    assert "\n" not in str(caught.value)
