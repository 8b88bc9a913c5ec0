"""What the study with XLS-R takes: FLOPs of a fine-tuning step as torch counts them, then GPU hours and money.

cost.py    about a minute and no weights: torch's fake tensors have shapes and nothing in them
"""

import itertools

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Model

from khasr.config import ArchitectureConfig, FinetuneConfig, ModelConfig, compose
from khasr.data.audio import FRAMES_PER_SECOND, SAMPLE_RATE
from khasr.model.ctc import CtcModel
from khasr.model.encoders import encode_frames
from khasr.model.finetune import apply_finetune
from khasr.model.weights import load_start

SHAPES = {"xlsr_300m": ArchitectureConfig(1024, 24, 16, 4096), "xlsr_1b": ArchitectureConfig()}
SYMBOLS = 72  # OpenSLR 42's 70 code points, blank and <unk>
BATCH, SECONDS = 8, 5  # utterances of OpenSLR 42's mean length
AUDIO_HOURS = 240  # of audio in the card's run
VALIDATED = 14 * 0.36  # hours: 262 utterances, at each 400th of 5,475 steps and at the end
GPU, PEAK, SHARE, PRICE = "A100 80 GB", 312e12, 0.35, 2.0  # dense bf16 FLOP/s; of which so much is used; USD an hour
CARD = 5475 * 4 * 8  # utterances in the card's run, with repeats
UPDATES_AN_EPOCH = 73
COMMON = "data.root=km_kh_male.zip model=xlsr_300m,xlsr_1b precision=bf16"
HYPOTHESES = {
    "H1 lr and warm-up": [
        "experiment=h1_lr optimizer.lr=1e-5,3e-5,1e-4,3e-4 schedule.warmup=0.1,2000 seed=1,2,3",
    ],
    "H2 updates": ["experiment=h2_updates trainer.max_steps=10000,20000 seed=1,2,3"],
    "H3 masks and dropout": ["experiment=card_1b_plain_script,h3_masks seed=1,2,3"],
    "H4 encoder frozen first": ["experiment=h4_frozen_first finetune.freeze_encoder_steps=0.1,0.4 seed=1,2,3"],
    "H5 top layers": [
        "experiment=h5_top_layers finetune.reinit_layers=1,2,4,8 seed=1,2,3",
        "experiment=h5_layer_decay optimizer.layer_decay=0.9,0.95 seed=1,2,3",
    ],
    "H6 precision": ["experiment=h6_precision precision=fp16 seed=1,2,3"],
    "H7 audio per update": ["experiment=h7_audio_per_update trainer.accumulate_grad_batches=16,40 seed=1,2,3"],
    "H9 seeds, of weights and of the order": [
        "experiment=h9_seeds seed=1,2,3,4,5",
        "experiment=card_1b seed=42 data.order_seed=1,2,3,4,5",
    ],
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
    print("| hypothesis | runs of each model | times the card's audio | 300M, GPU hours | 1B, GPU hours | both, USD |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    total, all_runs, all_audio = dict.fromkeys(SHAPES, 0.0), 0, 0.0
    commands = []
    for what, sweeps in HYPOTHESES.items():
        runs, audio = 0, 0.0
        for sweep in sweeps:
            common = COMMON.replace(" precision=bf16", "") if "precision=" in sweep else COMMON
            commands.append(f"python -m khasr.train -m {common} {sweep}")
            lengths = lengths_of(sweep)
            runs, audio = runs + len(lengths), audio + sum(lengths)
        hours = {n: audio * one_run(step[n], forward[n]) for n in SHAPES}
        total = {n: total[n] + hours[n] for n in SHAPES}
        all_runs, all_audio = all_runs + runs, all_audio + audio
        print(_row(what, runs, audio, hours))
    print(_row("all", all_runs, all_audio, total))
    one = ", ".join(f"{n} {one_run(step[n], forward[n]):.1f} GPU hours" for n in SHAPES)
    print(f"\nOne run of the card's length: {one}.\n")
    print("\n".join(commands))


def one_run(step: float, forward: float) -> float:
    """GPU hours of a run of the card's length."""
    return 3600 * (step * AUDIO_HOURS + forward * VALIDATED) / (PEAK * SHARE) / 3600


def lengths_of(sweep: str) -> list[float]:
    """The audio each run of a sweep trains on, for one model, as a share of the card's run."""
    found = []
    options = [(key, values.split(",")) for key, values in (word.split("=", 1) for word in sweep.split())]
    for chosen in itertools.product(*(values for _, values in options)):
        overrides = [f"{key}={value}" for (key, _), value in zip(options, chosen, strict=True)]
        config = compose("data.root=km_kh_male.zip", *overrides)
        updates = config.trainer.max_steps or round(config.trainer.max_epochs * UPDATES_AN_EPOCH)
        found.append(updates * config.trainer.accumulate_grad_batches * config.data.batch_size / CARD)
    return found


def count(name: str, shape: ArchitectureConfig) -> tuple[int, float, float]:
    """Parameters, and FLOPs per second of audio of a training step and of a forward pass.

    A step is the forward pass, the layers' second forward pass for gradient checkpointing, and the backward pass, with
    the feature encoder frozen. Masks and CTC are left out: they multiply nothing.
    """
    options = ModelConfig(name=name, checkpoint=None, init="random", architecture=shape)
    with FakeTensorMode():
        model = CtcModel(load_start(options).encoder, SYMBOLS, options)
        model.encoder.set_attn_implementation("eager")  # torch does not count its fused attention for CPUs
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
    waveforms = torch.empty(BATCH, SECONDS * SAMPLE_RATE)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        hidden = encode_frames(encoder, waveforms, torch.full((BATCH,), SECONDS * SAMPLE_RATE), recompute=backward)
        # No mask of padding: its values decide nothing about FLOPs, and fake tensors have none.
        logits = model.head(encoder.encoder(hidden).last_hidden_state)
        if backward:
            logits.sum().backward()
    return counter.get_total_flops()


def _row(what: str, runs: int, audio: float, hours: dict[str, float]) -> str:
    small, large = hours.values()
    return f"| {what} | {runs} | {audio:,.0f} | {small:,.0f} | {large:,.0f} | {PRICE * (small + large):,.0f} |"


if __name__ == "__main__":
    main()
