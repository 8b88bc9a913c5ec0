"""WER and CER as a torchmetrics metric, summed over batches and ranks."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from khasr.scoring.error_rates import character_edits, word_edits


class ErrorRates(Metric):
    """Corpus-level WER and CER as fractions. Each utterance counts once, however it is batched and distributed."""

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Word edits, words, character edits, characters, utterances. Sums of int64: exact on any number of ranks.
        self.add_state("counts", default=torch.zeros(5, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, references: Sequence[str], hypotheses: Sequence[str]) -> None:
        """Adds utterances."""
        for reference, hypothesis in zip(references, hypotheses, strict=True):
            words, characters = word_edits(reference, hypothesis), character_edits(reference, hypothesis)
            row = [words.total, words.units, characters.total, characters.units, 1]
            self.counts += torch.tensor(row, device=self.counts.device)

    def compute(self) -> dict[str, float]:
        """`wer` and `cer`, nan without reference units, and the number of `utterances`."""
        word, words, character, characters, utterances = self.counts.tolist()
        return {
            "wer": word / words if words else float("nan"),
            "cer": character / characters if characters else float("nan"),
            "utterances": utterances,
        }
