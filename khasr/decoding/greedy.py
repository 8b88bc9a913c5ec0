"""Greedy decoding: the best symbol of each frame, repeats merged, blanks dropped (Graves 2006, sec. 3.2)."""

from torch import Tensor

from khasr.text.vocabulary import Vocabulary


def decode_greedy(log_probs: Tensor, frame_lengths: Tensor, vocabulary: Vocabulary) -> list[str]:
    """The text of each utterance, one space between words and none at the ends.

    Args:
        log_probs: (batch, frames, vocab), blank first.
        frame_lengths: (batch,) in frames.
    """
    best = log_probs.argmax(dim=-1).cpu()
    return [
        " ".join(vocabulary.decode(row[:length].unique_consecutive().tolist()).split())
        for row, length in zip(best, frame_lengths.tolist(), strict=True)
    ]
