"""Greedy decoding: the best symbol of each frame, repeats merged, blanks dropped (Graves 2006, sec. 3.2)."""

import math

import torch
from torch import Tensor

from khasr.decoding.decoded import FRAME_SECONDS, Decoded, Word
from khasr.text.vocabulary import Vocabulary


def decode_greedy(log_probs: Tensor, frame_lengths: Tensor, vocabulary: Vocabulary) -> list[str]:
    """The text of each utterance, with single spaces between words and none at the ends.

    Args:
        log_probs: (batch, frames, vocab), blank first.
        frame_lengths: (batch,) in frames.
    """
    best = log_probs.argmax(dim=-1).cpu()
    return [
        " ".join(vocabulary.decode(row[:length].unique_consecutive().tolist()).split())
        for row, length in zip(best, frame_lengths.tolist(), strict=True)
    ]


def decode_greedy_words(log_probs: Tensor, vocabulary: Vocabulary) -> Decoded:
    """The text of one utterance with times and posteriors of its words.

    A word extends from the first frame of its first symbol to the last frame of its last symbol. Its posterior is the
    geometric mean of the probabilities of its frames.

    Args:
        log_probs: (frames, vocab), blank first.
    """
    values, best = log_probs.max(dim=-1)
    ids, counts = torch.unique_consecutive(best, return_counts=True)
    words: list[Word] = []
    logs: list[float] = []
    letters, start, end, frame = "", 0, 0, 0
    for id_, count in [*zip(ids.tolist(), counts.tolist(), strict=True), (None, 0)]:
        symbol = "" if id_ is None else vocabulary.decode([id_])
        if id_ is None or symbol == " ":
            if letters:
                posterior = _mean_probability(math.fsum(logs), len(logs))
                words.append(Word(letters, start * FRAME_SECONDS, end * FRAME_SECONDS, posterior))
            letters, logs = "", []
        elif symbol:
            start = frame if not letters else start
            end = frame + count
            letters += symbol
            logs += values[frame : frame + count].tolist()
        frame += count
    score = float(values.sum())
    return Decoded(" ".join(w.text for w in words), words, score, _mean_probability(score, len(values)))


def _mean_probability(log_probability: float, frames: int) -> float:
    """The geometric mean of the frames' probabilities, at most 1: a log-softmax may round to just above 0."""
    return min(1.0, math.exp(log_probability / max(1, frames)))
