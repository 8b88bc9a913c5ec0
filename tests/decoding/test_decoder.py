from pathlib import Path

import numpy as np
import pytest
import torch

from khasr.config import DecoderConfig
from khasr.decoding.decoder import build_decoder, n_best, texts
from khasr.text.vocabulary import Vocabulary
from tests.decoding.test_compiled import utterances, write_trigrams


@pytest.mark.parametrize(
    ("name", "backend"),
    [*((name, "compiled") for name in ("greedy", "beam", "words", "characters")), ("words", "pyctcdecode")],
)
def test_first_hypothesis(name: str, backend: str, tmp_path: Path) -> None:
    """The text of evaluate, the first of the n-best list of transcribe, and the text of a batch are the same."""
    vocabulary = Vocabulary.of_texts(["ab c"])
    options = DecoderConfig(name=name, backend=backend)  # type: ignore[arg-type]
    if name in ("words", "characters"):
        words = ["a", "ab", "abc", "bab", "cacb"] if name == "words" else ["|", "a", "b", "c"]
        options = DecoderConfig(
            name="beam_lm", lm=write_trigrams(tmp_path / "lm.binary", words), backend=options.backend
        )
        (tmp_path / "unigrams.txt").write_text("\n".join(words), encoding="utf-8")
        (tmp_path / "lm.json").write_text(f'{{"unit": "{name[:-1]}", "words": {len(words)}}}', encoding="utf-8")
    rows = utterances(len(vocabulary), 20 if backend == "compiled" else 4, frames=25)
    for width, threshold in [(40, -10.0), (6, -10.0), (6, -3.0)]:
        options.beam_width, options.beam_prune_logp = width, threshold
        expected = texts(options, vocabulary, rows)
        for most in (1, 7):
            decode = n_best(options, vocabulary, most)
            assert [decode(each)[0].text for each in rows] == expected
    lengths = torch.tensor([len(each) for each in rows])
    padded = np.zeros((len(rows), int(lengths.max()), len(vocabulary)), np.float32)
    for target, each in zip(padded, rows, strict=True):
        target[: len(each)] = each
    assert build_decoder(options, vocabulary)(torch.from_numpy(padded), lengths) == expected
