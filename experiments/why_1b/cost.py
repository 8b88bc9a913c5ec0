"""What the study with XLS-R takes: FLOPs of a fine-tuning step as torch counts them, then GPU hours and money.

cost.py    about a minute and no weights: the shapes lie on torch's meta device, where nothing is computed
"""

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Model

from khasr.config import ArchitectureConfig, FinetuneConfig, ModelConfig
from khasr.data.audio import SAMPLE_RATE
from khasr.model.ctc import CtcModel
from khasr.model.encoders import listen
from khasr.model.finetune import apply_finetune
from khasr.model.weights import load_start
from khasr.study.runs import FRAMES_PER_SECOND

SHAPES = {"xlsr_300m": ArchitectureConfig(1024, 24, 16, 4096), "xlsr_1b": ArchitectureConfig()}
SYMBOLS = 72  # OpenSLR 42's 70 code points, blank and <unk>
BATCH, SECONDS = 8, 5  # utterances of OpenSLR 42's mean length
AUDIO_HOURS = 240  # that the card's run heard in training
VALIDATED = 14 * 0.36  # hours: 262 utterances, at each 400th of 5,475 steps and at the end
GPU, PEAK, SHARE, PRICE = "A100 80 GB", 312e12, 0.35, 2.0  # dense bf16 FLOP/s; of which so much is used; USD an hour
# Runs of each model, and how many times the card's updates each takes.
HYPOTHESES = {
    "H1 lr and warm-up: 4 x 2, 3 seeds": (24, 1.0),
    "H2 updates: 10,000 and 20,000, 3 seeds": (6, 15000 / 5475),
    "H3 masks: 2 other readings, 3 seeds": (6, 1.0),
    "H4 encoder frozen first: 2 shares, 3 seeds": (6, 1.0),
    "H5 top layers: 4, layer decay: 2, 3 seeds": (18, 1.0),
    "H7 audio per update: 4 and 10 times, 3 seeds": (6, 7.0),
    "H9 seeds: 5, and 5 of the order": (10, 1.0),
}


def main() -> None:
    """Prints both tables."""
    print(
        "| model | parameters | counted, GFLOP per s of audio | forward alone "
        f"| 6 x parameters x {FRAMES_PER_SECOND} | counted / 6N |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    step, forward = {}, {}
    for name, shape in SHAPES.items():
        parameters, step[name], forward[name] = count(name, shape)
        estimate = 6 * parameters * FRAMES_PER_SECOND
        print(
            f"| {name} | {parameters / 1e6:,.0f} M | {step[name] / 1e9:,.0f} | {forward[name] / 1e9:,.0f} "
            f"| {estimate / 1e9:,.0f} | {step[name] / estimate:.2f} |"
        )
    print(f"\nOne {GPU} at {SHARE:.0%} of {PEAK / 1e12:.0f} TFLOP/s, {PRICE:.2f} USD an hour.\n")
    print("| runs of each model | card's lengths | 300M, GPU hours | 1B, GPU hours | both, USD |")
    print("| --- | ---: | ---: | ---: | ---: |")
    total = dict.fromkeys(SHAPES, 0.0)
    lengths = 0.0
    for what, (runs, length) in HYPOTHESES.items():
        hours = {n: runs * length * one_run(step[n], forward[n]) for n in SHAPES}
        total = {n: total[n] + hours[n] for n in SHAPES}
        lengths += runs * length
        print(_row(f"{what} ({runs})", runs * length, hours))
    print(_row("all", lengths, total))
    one = ", ".join(f"{n} {one_run(step[n], forward[n]):.1f} GPU hours" for n in SHAPES)
    print(f"\nOne run of the card's length: {one}.")


def one_run(step: float, forward: float) -> float:
    """GPU hours of a run of the card's length."""
    return 3600 * (step * AUDIO_HOURS + forward * VALIDATED) / (PEAK * SHARE) / 3600


def count(name: str, shape: ArchitectureConfig) -> tuple[int, float, float]:
    """Parameters, and FLOPs per second of audio of a training step and of a forward pass.

    A step is the forward pass, the layers' second forward pass for gradient checkpointing, and the backward pass, with
    the feature encoder frozen. Masks and CTC are left out: they multiply nothing.
    """
    options = ModelConfig(name=name, checkpoint=None, init="random", architecture=shape)
    with torch.device("meta"):
        model = CtcModel(load_start(options).encoder, SYMBOLS, options)
    model.train()
    apply_finetune(model, FinetuneConfig(), options)
    seconds = BATCH * SECONDS
    return (
        sum(p.numel() for p in model.parameters()),
        _counted(model, backward=True) / seconds,
        _counted(model.eval(), backward=False) / seconds,
    )


def _counted(model: CtcModel, backward: bool) -> int:
    encoder: Wav2Vec2Model = model.encoder
    waveforms = torch.empty(BATCH, SECONDS * SAMPLE_RATE, device="meta")
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        hidden = listen(encoder, waveforms, torch.full((BATCH,), SECONDS * SAMPLE_RATE), recompute=backward)
        # No mask of padding: its values decide nothing about FLOPs, and there are none on the meta device.
        logits = model.head(encoder.encoder(hidden).last_hidden_state)
        if backward:
            logits.sum().backward()
    return counter.get_total_flops()


def _row(what: str, lengths: float, hours: dict[str, float]) -> str:
    small, large = hours.values()
    return f"| {what} | {lengths:,.0f} | {small:,.0f} | {large:,.0f} | {PRICE * (small + large):,.0f} |"


if __name__ == "__main__":
    main()
