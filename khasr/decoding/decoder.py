"""Text from frame log-probabilities according to `DecoderConfig`: greedy or beam search, 1-best or n-best."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from khasr.config import DecoderConfig
from khasr.decoding.beam import BeamSearch, check_decoder
from khasr.decoding.decoded import Decoded
from khasr.decoding.greedy import decode_greedy, decode_greedy_words
from khasr.text.vocabulary import Vocabulary

Decoder = Callable[[Tensor, Tensor], list[str]]


def texts(options: DecoderConfig, vocabulary: Vocabulary, log_probs: Sequence[NDArray[np.float32]]) -> list[str]:
    """The best text of each utterance.

    Args:
        log_probs: (frames, vocab) for each utterance.

    Raises:
        FileNotFoundError, ValueError: as `BeamSearch`.
    """
    if options.name != "greedy":
        return BeamSearch(options, vocabulary).texts(log_probs)
    return [decode_greedy(torch.from_numpy(rows)[None], torch.tensor([len(rows)]), vocabulary)[0] for rows in log_probs]


def n_best(options: DecoderConfig, vocabulary: Vocabulary, most: int) -> Callable[[NDArray[np.float32]], list[Decoded]]:
    """A function from (frames, vocab) log-probabilities to at most `most` hypotheses, best first.

    Greedy decoding has a single hypothesis.

    Raises:
        FileNotFoundError, ValueError: as `BeamSearch`.
    """
    if options.name == "greedy":
        return lambda rows: [decode_greedy_words(torch.from_numpy(rows), vocabulary)]
    search = BeamSearch(options, vocabulary)
    return lambda rows: search.beams(rows)[:most]


def build_decoder(options: DecoderConfig, vocabulary: Vocabulary) -> Decoder:
    """A function from log_probs (batch, frames, vocab) and frame_lengths (batch,) to the text of each utterance.

    Raises:
        FileNotFoundError, ValueError: as `BeamSearch`.
    """
    check_decoder(options)
    if options.name == "greedy":
        return lambda log_probs, frame_lengths: decode_greedy(log_probs, frame_lengths, vocabulary)
    search = BeamSearch(options, vocabulary)

    def decode(log_probs: Tensor, frame_lengths: Tensor) -> list[str]:
        rows = log_probs.float().cpu().numpy()
        return search.texts([row[:length] for row, length in zip(rows, frame_lengths.tolist(), strict=True)])

    return decode
