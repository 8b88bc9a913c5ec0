"""WER and CER: edits over reference units, summed over utterances before they are divided."""

from collections.abc import Sequence

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torchmetrics import Metric


def word_edits(reference: str, hypothesis: str) -> tuple[int, int]:
    """Word edits (substitutions, deletions, insertions) and reference words."""
    words = reference.split()
    return Levenshtein.distance(words, hypothesis.split()), len(words)


def character_edits(reference: str, hypothesis: str) -> tuple[int, int]:
    """Code point edits and reference code points, spaces between words counted as characters."""
    return Levenshtein.distance(reference, hypothesis), len(reference)


class ErrorRates(Metric):
    """Corpus-level WER and CER, as fractions, across batches and ranks; an utterance counts once."""

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Word edits, words, character edits, characters, utterances. Sums of int64: exact on any number of ranks.
        self.add_state("counts", default=torch.zeros(5, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, references: Sequence[str], hypotheses: Sequence[str]) -> None:
        """Counts utterances, the reference first."""
        for reference, hypothesis in zip(references, hypotheses, strict=True):
            counted = [*word_edits(reference, hypothesis), *character_edits(reference, hypothesis), 1]
            self.counts += torch.tensor(counted, device=self.counts.device)

    def compute(self) -> dict[str, float]:
        """`wer` and `cer`, nan where there is no reference unit, and the number of `utterances`."""
        word, words, character, characters, utterances = self.counts.tolist()
        return {
            "wer": word / words if words else float("nan"),
            "cer": character / characters if characters else float("nan"),
            "utterances": utterances,
        }
