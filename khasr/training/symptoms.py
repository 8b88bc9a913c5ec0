"""Diagnosis of a run that did not learn, with settings that usually help and their sources."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from khasr.config import Config
from khasr.optim.schedules import in_steps
from khasr.training.instruments import ALL_BLANK

DIVERGED_HELP = (
    "What usually helps: a lower optimizer.lr, a longer schedule.warmup (Mosbach 2021), bf16 or fp32 instead of fp16, "
    "in which XLS-R overflows (speechbrain #1803, fairseq #3750)."
)


# Fine-tuning by XLS-R's authors: lr 2e-5 to 3e-4, 13,000 to 26,000 updates, tri-stage, whose mean is 0.61 of its peak
# (fairseq examples/wav2vec/xlsr).
_XLSR_AREA = (0.16, 4.7)


_LR_THAT_WORKS = {
    "pretrained": (2e-5, 3e-4, "the range that XLS-R's authors search (fairseq examples/wav2vec/xlsr)"),
    "random": (5e-4, 5e-3, "the range for a small model with random weights (experiments/quickstart: 2e-3)"),
}


# A loss above this fraction of the entropy is no better than the symbol frequencies alone.
_PLATEAU = 0.9

# Trained models have 0.5 to 0.95 of blanks. Below this share, and with errors in most words, a symbol has their place.
_BLANK_LOST = 0.1


def symbol_entropy(texts: Iterable[str]) -> float:
    """Entropy of the symbols of the texts, in nats: about the CTC loss per symbol of a model that has learned only the
    frequency of each symbol.
    """
    counts = Counter("".join(texts))
    total = sum(counts.values())
    return -sum(n / total * math.log(n / total) for n in counts.values())


def diagnose(
    config: Config, train: Mapping[str, Any], last: Mapping[str, float], best: Mapping[str, float], entropy: float
) -> str | None:
    """A paragraph on a run that did not learn; None if it learned.

    Args:
        train: results["train"] of a finished run.
        last: loss, wer, cer and blank_share of the last validation.
        best: wer and loss of the best validation.
        entropy: entropy of the symbols of the training texts, in nats.
    """
    loss = last["loss"]
    if not all(math.isfinite(value) for value in (loss, last["wer"])):
        return f"Diverged: the loss on val is {loss}. {DIVERGED_HELP}"
    if last["wer"] > best["wer"] + 0.1 and loss > 1.3 * best["loss"]:
        return (
            f"Diverged: WER on val was {best['wer']:.0%} at its best and is {last['wer']:.0%} at the end, and the loss "
            f"per symbol rose from {best['loss']:.2f} to {loss:.2f}; best.ckpt has the best weights. {DIVERGED_HELP}"
        )
    reference = f"the frequencies of the symbols alone give {entropy:.2f}"
    if last["blank_share"] >= ALL_BLANK:
        symptom = (
            f"All blank: at the last step {last['blank_share']:.1%} of the frames of val are blank, so hypotheses are "
            f"nearly empty. The loss on val is {loss:.2f} per symbol; {reference}. CTC passes through such a plateau "
            "first (Zeyer 2021); this run did not leave it."
        )
    elif loss > 1.5 * entropy:
        symptom = (
            f"Nothing learned: the loss on val is {loss:.2f} per symbol; {reference}. The run did not reach the "
            "plateau of blank output with which CTC begins (Zeyer 2021)."
        )
    elif loss > _PLATEAU * entropy:
        symptom = (
            f"On the plateau: the loss on val is {loss:.2f} per symbol; {reference}. The run has learned these "
            "frequencies and nothing from the audio."
        )
    elif last["blank_share"] < _BLANK_LOST and last["wer"] > 0.9:
        return (
            f"Blank lost: {last['blank_share']:.1%} of the frames of val are blank, where 50 to 95 % are usual. A "
            "symbol took the place of the blank in the first steps, by chance of the head's random weights. "
            "model.head_start=blank avoids this (experiments/head_start); a longer warm-up or a new seed may, too."
        )
    else:
        return None
    return f"{symptom} What usually helps:" + "".join(f"\n  - {advice}" for advice in _advice(config, train))


def _advice(config: Config, train: Mapping[str, Any]) -> list[str]:
    """Settings that help to leave the plateau; those that this run's numbers suggest come first."""
    steps, area = int(train["steps"]), train["lr_area"]
    warmup = in_steps(config.schedule.warmup, steps)
    frozen = in_steps(config.finetune.freeze_encoder_steps, steps)
    low, high = _XLSR_AREA
    advice = []
    if warmup >= 0.5 * steps:
        advice.append(
            f"schedule.warmup=0.1: the warm-up of {warmup:,} steps takes {min(1.0, warmup / steps):.0%} of the run's "
            f"{steps:,}" + (f", and lr ended at {steps / warmup:.0%} of its peak" if warmup > steps else "")
        )
    if frozen >= 0.5 * steps:
        advice.append(f"finetune.freeze_encoder_steps: the encoder was frozen for {frozen:,} of {steps:,} steps")
    if train["skipped_share"] > 0.05:
        advice.append(
            f"precision=bf16: fp16 skipped {train['skipped_share']:.0%} of the steps (speechbrain #1803, fairseq #3750)"
        )
    lowest, highest, source = _LR_THAT_WORKS[config.model.init]
    if not lowest <= config.optimizer.lr <= highest:
        advice.append(
            f"optimizer.lr from {lowest:g} to {highest:g}, {source}; this run's {config.optimizer.lr:g} is "
            f"{'below' if config.optimizer.lr < lowest else 'above'}"
        )
    advice.append(
        f"more updates, by trainer.max_epochs or smaller batches: lr summed over this run's {steps:,} steps is "
        f"{area:.2g}; fine-tuning by XLS-R's authors has {low} to {high}, the card's 1B 0.027 (fine-tuning often "
        "fails because of too few steps: Mosbach 2021, Zhang 2021)"
    )
    if config.model.head != "keep" and config.model.head_start != "blank":
        advice.append("model.head_start=blank: a new head leaves the plateau sooner (experiments/head_start)")
    if config.model.mask_time_prob > 0 or config.model.mask_feature_prob > 0:
        advice.append(
            "model.mask_time_prob=0.05 model.mask_feature_prob=0: masking delays leaving the plateau "
            "(experiments/quickstart)"
        )
    return advice
