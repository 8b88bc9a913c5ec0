"""What went wrong with a run that did not learn, in words, with what usually helps and where that is from."""

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


# XLS-R's own fine-tuning: lr 2e-5 to 3e-4 over 13,000 to 26,000 updates, tri-stage, whose mean is 0.61 of its peak
# (fairseq examples/wav2vec/xlsr).
_XLSR_AREA = (0.16, 4.7)


_LR_THAT_WORKS = {
    "pretrained": (2e-5, 3e-4, "where XLS-R's authors look for it (fairseq examples/wav2vec/xlsr)"),
    "random": (5e-4, 5e-3, "where a small model from random weights learns (experiments/quickstart: 2e-3)"),
}


_PLATEAU = 0.9  # of the entropy: what hearing a little more than nothing is worth


def symbol_entropy(texts: Iterable[str]) -> float:
    """Entropy of the symbols of some texts in nats: a recogniser that knows no more than how often each occurs has a
    CTC loss of about this for each symbol.
    """
    counts = Counter("".join(texts))
    total = sum(counts.values())
    return -sum(n / total * math.log(n / total) for n in counts.values())


def what_went_wrong(
    config: Config, train: Mapping[str, Any], last: Mapping[str, float], best: Mapping[str, float], entropy: float
) -> str | None:
    """A paragraph on a run that ended without having learned; None where it has.

    Args:
        train: as in results.json, of a finished run.
        last: loss, wer, cer and blank_share of the last validation.
        best: wer and loss of the best.
        entropy: of the training texts' symbols, in nats.
    """
    loss = last["loss"]
    if not all(math.isfinite(value) for value in (loss, last["wer"])):
        return f"Diverged: the loss on val is {loss}. {DIVERGED_HELP}"
    if last["wer"] > best["wer"] + 0.1 and loss > 1.3 * best["loss"]:
        return (
            f"Diverged: WER on val was {best['wer']:.0%} at its best and is {last['wer']:.0%} at the end, with a loss "
            f"of {loss:.2f} a symbol after {best['loss']:.2f}; best.ckpt is of the best. {DIVERGED_HELP}"
        )
    knows = f"knowing only how often each symbol occurs would give {entropy:.2f}"
    if last["blank_share"] >= ALL_BLANK:
        told = (
            f"All blank: at the last step {last['blank_share']:.1%} of the frames of val are blank, so next to nothing "
            f"is written. Its loss there is {loss:.2f} a symbol; {knows}. CTC goes through such a plateau first (Zeyer "
            "2021); this run did not leave it."
        )
    elif loss > 1.5 * entropy:
        told = (
            f"Nothing learned: the loss on val is {loss:.2f} a symbol, and {knows}. The run has not even come to the "
            "plateau at which all is blank, where CTC begins (Zeyer 2021)."
        )
    elif loss > _PLATEAU * entropy:
        told = (
            f"On the plateau: the loss on val is {loss:.2f} a symbol, and {knows}. The run has learned that, and "
            "nothing of what is heard."
        )
    else:
        return None
    return f"{told} What usually helps:" + "".join(f"\n  - {advice}" for advice in _advice(config, train))


def _advice(config: Config, train: Mapping[str, Any]) -> list[str]:
    """Settings that get a run off the plateau, those first that this run's own numbers speak for."""
    steps, area = int(train["steps"]), train["lr_area"]
    warmup = in_steps(config.schedule.warmup, steps)
    frozen = in_steps(config.finetune.freeze_encoder_steps, steps)
    low, high = _XLSR_AREA
    found = []
    if warmup >= 0.5 * steps:
        found.append(
            f"schedule.warmup=0.1: the warm-up of {warmup:,} steps takes {min(1.0, warmup / steps):.0%} of the run's "
            f"{steps:,}" + (f", and lr ended at {steps / warmup:.0%} of its peak" if warmup > steps else "")
        )
    if frozen >= 0.5 * steps:
        found.append(f"finetune.freeze_encoder_steps: the encoder was frozen for {frozen:,} of {steps:,} steps")
    if train["skipped_share"] > 0.05:
        found.append(
            f"precision=bf16: fp16 left out {train['skipped_share']:.0%} of the steps (speechbrain #1803, fairseq "
            "#3750)"
        )
    lowest, highest, whose = _LR_THAT_WORKS[config.model.init]
    if not lowest <= config.optimizer.lr <= highest:
        found.append(
            f"optimizer.lr from {lowest:g} to {highest:g}, {whose}; this run's {config.optimizer.lr:g} is "
            f"{'below' if config.optimizer.lr < lowest else 'above'}"
        )
    found.append(
        f"more updates, by trainer.max_epochs or smaller batches: lr summed over this run's {steps:,} steps is "
        f"{area:.2g}; XLS-R's own fine-tuning has {low} to {high}, the card's 1B has 0.027 (few steps are what makes "
        "fine-tuning fail: Mosbach 2021, Zhang 2021)"
    )
    if config.model.mask_time_prob > 0 or config.model.mask_feature_prob > 0:
        found.append(
            "model.mask_time_prob=0.05 model.mask_feature_prob=0: masks delay leaving the plateau "
            "(experiments/quickstart)"
        )
    return found
