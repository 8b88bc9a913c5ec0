"""A split, recognised and counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from khasr.data.audio import SAMPLE_RATE
from khasr.data.batching import Batch
from khasr.decoding.beam import Decoder
from khasr.model.ctc import CtcModel
from khasr.scoring.error_rates import ErrorRates, word_edits


@dataclass(frozen=True)
class Hypothesis:
    """What was heard in one utterance.

    Attributes:
        edits: word edits between reference and hypothesis.
        seconds: of audio.
    """

    id: str
    reference: str
    hypothesis: str
    edits: int
    seconds: float


def recognise(model: CtcModel, batches: Iterable[Batch], decode: Decoder) -> list[Hypothesis]:
    """The hypotheses of all utterances, by id; the model is left in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    dtype = next(model.parameters()).dtype
    hypotheses = []
    with torch.inference_mode():
        for batch in batches:
            waveforms, lengths = batch.waveforms.to(device, dtype), batch.waveform_lengths.to(device)
            texts = decode(*model(waveforms, lengths))
            for id_, reference, text, samples in zip(
                batch.ids, batch.references, texts, batch.waveform_lengths.tolist(), strict=True
            ):
                edits, _ = word_edits(reference, text)
                hypotheses.append(Hypothesis(id_, reference, text, edits, samples / SAMPLE_RATE))
    return sorted(hypotheses, key=lambda h: h.id)


def score(hypotheses: Sequence[Hypothesis]) -> dict[str, float]:
    """Corpus-level wer and cer, as fractions, and the count of utterances."""
    rates = ErrorRates()
    rates.update([h.reference for h in hypotheses], [h.hypothesis for h in hypotheses])
    return rates.compute()


def evenly(hypotheses: Sequence[Hypothesis], count: int) -> list[Hypothesis]:
    """Some right and some wrong, from the most edits to the fewest, evenly."""
    ranked = sorted(hypotheses, key=lambda h: (-h.edits, h.id))
    if len(ranked) <= count:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / (count - 1))] for i in range(count)]
