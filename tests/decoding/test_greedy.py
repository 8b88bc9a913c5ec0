from pathlib import Path

import pytest
import torch

from khasr.config import DecoderConfig
from khasr.decoding.decoder import build_decoder
from khasr.decoding.greedy import decode_greedy
from khasr.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_texts(["ab c"])  # <blank> <unk> space a b c


def frames(text: str, sure: float = 0.9) -> torch.Tensor:
    """Log-probabilities of a path: - is the blank, ? the unknown symbol."""
    path = [{"-": 0, "?": 1}.get(c) if c in "-?" else VOCABULARY.symbols.index(c) for c in text]
    probs = torch.full((1, len(path), len(VOCABULARY)), (1 - sure) / (len(VOCABULARY) - 1))
    for i, label in enumerate(path):
        probs[0, i, label] = sure
    return probs.log()


@pytest.mark.parametrize("name", ["greedy", "beam"])
@pytest.mark.parametrize(
    ("path", "text"),
    [("aa-a-b", "aab"), ("--a- -b--", "a b"), ("----", ""), ("a  b", "a b"), (" a ", "a"), ("a-?-b", "ab")],
)
def test_collapse(name: str, path: str, text: str) -> None:
    decode = build_decoder(DecoderConfig(name=name), VOCABULARY)  # type: ignore[arg-type]
    assert decode(frames(path, sure=0.999), torch.tensor([len(path)])) == [text]


def test_frame_lengths() -> None:
    assert decode_greedy(frames("ab--cc"), torch.tensor([3]), VOCABULARY) == ["ab"]


def write_lm(folder: Path) -> Path:
    """A bigram model in which "ab" is likely and "ac" is not."""
    unigrams = "-5\t<unk>\t0\n-99\t<s>\t0\n-1\t</s>\t0\n-0.1\tab\t0\n-4\tac\t0\n"
    (folder / "lm.arpa").write_text(
        f"\\data\\\nngram 1=5\nngram 2=1\n\n\\1-grams:\n{unigrams}\n\\2-grams:\n-0.1\t<s> ab\n\n\\end\\\n",
        encoding="utf-8",
    )
    return folder / "lm.arpa"


def test_language_model(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    unsure = frames("a-b", sure=0.97)
    unsure[0, 2, VOCABULARY.symbols.index("c")] = unsure[0, 2, VOCABULARY.symbols.index("b")] + 0.3
    lengths = torch.tensor([3])
    assert build_decoder(DecoderConfig(name="beam"), VOCABULARY)(unsure, lengths) == ["ac"]
    options = DecoderConfig(name="beam_lm", lm=str(write_lm(tmp_path)))
    assert build_decoder(options, VOCABULARY)(unsure, lengths) == ["ab"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "greedy", "lm": "x.arpa"}, ValueError),
        ({"name": "beam_lm"}, ValueError),
        ({"name": "beam_lm", "lm": "/absent.arpa"}, FileNotFoundError),
    ],
)
def test_lm_requires_beam_lm(options: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"decoder\.lm"):
        build_decoder(DecoderConfig(**options), VOCABULARY)  # type: ignore[arg-type]
