"""Prefix beam search, with or without a word n-gram: pyctcdecode and KenLM."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from khasr.config import DecoderConfig
from khasr.decoding.greedy import decode_greedy
from khasr.text.vocabulary import UNKNOWN, Vocabulary

Decoder = Callable[[Tensor, Tensor], list[str]]


def check_decoder(options: DecoderConfig) -> None:
    """Looks whether the options go together and the language model is there.

    Raises:
        FileNotFoundError: decoder.lm is not a file.
        ValueError: a language model without beam_lm, or beam_lm without one.
    """
    if (options.name == "beam_lm") != (options.lm is not None):
        raise ValueError(
            f"decoder={options.name} with decoder.lm={options.lm}: a language model and decoder=beam_lm go together."
        )
    if options.lm is not None and not Path(options.lm).expanduser().is_file():
        raise FileNotFoundError(f"decoder.lm={options.lm} is not a file; expected a KenLM model (ARPA or binary).")


def build_decoder(options: DecoderConfig, vocabulary: Vocabulary) -> Decoder:
    """A function from (log_probs (batch, frames, vocab), frame_lengths (batch,)) to the texts.

    Raises:
        FileNotFoundError, ValueError: as `check_decoder`, and where decoder.lm is not a KenLM model.
    """
    check_decoder(options)
    if options.name == "greedy":
        return lambda log_probs, frame_lengths: decode_greedy(log_probs, frame_lengths, vocabulary)
    lm = Path(options.lm).expanduser() if options.lm else None

    # Imported here: it takes a second, and greedy decoding does without.
    from pyctcdecode import build_ctcdecoder

    # pyctcdecode guesses what is not told: "" is its blank, and U+2047 its unknown word, which must not be said.
    labels = ["", *("⁇" if s == UNKNOWN else s for s in vocabulary.symbols[1:])]
    unigrams = None
    if lm is not None and (lm.parent / "unigrams.txt").is_file():
        unigrams = (lm.parent / "unigrams.txt").read_text(encoding="utf-8").split()
    try:
        decoder = build_ctcdecoder(
            labels, None if lm is None else str(lm), unigrams, alpha=options.alpha, beta=options.beta
        )
    except OSError as error:
        raise ValueError(f"decoder.lm={options.lm} is not a KenLM model ({error}).") from error

    def decode(log_probs: Tensor, frame_lengths: Tensor) -> list[str]:
        rows = log_probs.float().cpu().numpy()
        return [
            " ".join(
                decoder.decode(np.ascontiguousarray(row[:length]), beam_width=options.beam_width)
                .replace("⁇", "")
                .split()
            )
            for row, length in zip(rows, frame_lengths.tolist(), strict=True)
        ]

    return decode
