"""Cases on speed: beside transformers' Trainer, the largest batch, waiting for the GPU, and where the time goes."""

import json
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from experiments.gpu_check.machine import Found, Machine, last_line, read_rows
from khasr.config import Config, compose
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.finetune import apply_finetune
from khasr.model.footprint import count_step, step_footprint
from khasr.model.precision import AUTOCAST
from khasr.model.weights import load_start
from khasr.optim.parameters import build_optimizer
from khasr.training.prediction import memory_by_use

_SYMBOLS, _SECONDS = 80, 5
# Copies of lengths and offsets to the GPU in torch's kernel, three in the forward and three in the backward pass.
_WAITS_OF_CTC = 6
_PEER = Path(__file__).resolve().parents[1] / "speed" / "peer.py"
# Parts of an operation's name and what it is, in the order in which they are tried.
_KINDS = (
    ("gemm", "products"), ("mm", "products"), ("attention", "attention"), ("flash", "attention"),
    ("conv", "convolution"), ("memcpy", "copies and casts"), ("copy", "copies and casts"), ("norm", "norms"),
    ("ctc", "CTC"), ("adam", "optimizer"), ("elementwise", "elementwise"), ("gelu", "elementwise"),
    ("mul", "elementwise"), ("add", "elementwise"),
)  # fmt: skip


def model_of(config: Config) -> CtcModel:
    """A model with random weights, in training mode."""
    options = config.model
    model = CtcModel(load_start(options).encoder, _SYMBOLS, options)
    apply_finetune(model, config.finetune, options)
    return model.train()


def beside_trainer(machine: Machine) -> Found:
    """Speed of khasr and of transformers' Trainer on the same utterances, without the first epoch."""
    size = ["model=xlsr_300m", "model.init=random", "precision=bf16", "data.utterances=300"] if machine.gpus else []
    options = [
        *size, "finetune=feature_encoder_frozen", "data.batch_size=8", "trainer.max_epochs=3", "trainer.max_steps=null",
        "trainer.val_every_steps=1000000", "trainer.log_every_steps=1", "data.augment.speed=[]", "model.compile=auto",
    ]  # fmt: skip
    code, message, folder = machine.run("speed", *options)
    if code:
        return Found(False, last_line(message))
    rows = [row for row in read_rows(folder) if row["train/loss"] and float(row["epoch"]) > 1]
    seconds = [float(row["train/audio_seconds_per_update"]) for row in rows]
    ours = sum(seconds) / sum(
        audio / float(row["train/audio_seconds_per_second"]) for audio, row in zip(seconds, rows, strict=True)
    )
    out = machine.scratch / "peer.json"
    command = [sys.executable, str(_PEER), str(out), *machine.options(*options)]
    # The Trainer would use all GPUs, as one batch each; khasr uses one here.
    first = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=machine.longest_seconds, env=os.environ | first
    )
    if done.returncode:
        return Found(False, last_line(done.stderr))
    found = json.loads(out.read_text(encoding="utf-8"))
    theirs = found["audio_seconds_per_epoch"] * len(found["epoch_seconds"][1:]) / sum(found["epoch_seconds"][1:])
    text = f"{ours:.0f} s of audio/s, transformers' Trainer {theirs:.0f}, {ours / theirs:.2f} times as fast"
    return Found(ours >= theirs, text, {"khasr": ours, "transformers": theirs})


def largest(fits: Callable[[int], bool], most: int = 4096) -> int:
    """The largest number up to `most` that fits, if all smaller ones do; 0 if not even 1 does."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def largest_batch(machine: Machine, model: str) -> Found:
    """The largest batch of utterances of 5 s that is predicted to fit, and the largest that does."""
    config = compose(f"model={model}", "model.init=random", "precision=bf16", "model.gradient_checkpointing=true")
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    samples = _SECONDS * 16_000

    # Activations grow linearly, so that two batches are enough to predict all.
    one, two = (
        sum(memory_by_use(config, step_footprint(lambda: model_of(config), n, samples, torch.bfloat16)).values())
        for n in (8, 16)
    )
    predicted = int(8 + (total - one) / ((two - one) / 8)) if one <= total else 0
    if predicted < 1:
        return Found(None, f"8 x {_SECONDS} s are predicted to need {one:.1f} GiB, of which the GPU has {total:.1f}")
    built = model_of(config).cuda()
    optimizer = build_optimizer(config.optimizer, built)

    def fits(utterances: int) -> bool:
        try:
            count_step(built, utterances, samples, torch.bfloat16)
            optimizer.step()
            optimizer.zero_grad()
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            torch.cuda.empty_cache()
        return True

    found = largest(fits, 2 * predicted)
    text = f"data.batch_seconds={predicted * _SECONDS} is predicted to fit, {found * _SECONDS} does"
    return Found(0.8 <= found / predicted <= 1.4, text, {"predicted": predicted, "found": found})


def optimizer_step(config: Config, device: str) -> Callable[[], None]:
    """A function that takes an optimizer step on 8 x 5 s as training does."""
    model = model_of(config).to(device)
    optimizer = build_optimizer(config.optimizer, model)
    samples = _SECONDS * 16_000 if device == "cuda" else 16_000
    waveforms, lengths = torch.randn(8, samples, device=device), torch.full((8,), samples)
    targets, labels = torch.randint(1, _SYMBOLS, (8, 20), device=device), torch.full((8,), 20)
    dtype = AUTOCAST[config.precision.name]

    def step() -> None:
        with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=False):
            log_probs, frame_lengths = model(waveforms, lengths)
            loss = ctc_losses(log_probs, frame_lengths, targets, labels).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def waits(machine: Machine, precision: str) -> Found:
    """How often a step of the model waits for the GPU, as torch counts it (`set_sync_debug_mode`)."""
    config = compose("experiment=quickstart", f"precision={precision}")
    step = optimizer_step(config, "cuda")
    step()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = [str(each.message) for each in caught if "synchroniz" in str(each.message)]
    text = f"{len(found)} in a step, of which torch's CTC needs up to {_WAITS_OF_CTC}"
    return Found(len(found) <= _WAITS_OF_CTC, f"{text}{': ' + found[0][:120] if found else ''}", {"waits": len(found)})


def kind_of(name: str) -> str:
    """What an operation or kernel computes, by its name."""
    return next((kind for part, kind in _KINDS if part in name.lower()), "other")


def profile_shares(machine: Machine) -> Found:
    """Shares of the time of three steps by kind of operation: of kernels on a GPU, of operations on a CPU."""
    on_gpu = machine.gpus > 0
    words = ["model=xlsr_300m", "model.init=random", "precision=bf16"] if on_gpu else ["experiment=quickstart"]
    step = optimizer_step(compose(*words), "cuda" if on_gpu else "cpu")
    step()
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        for _ in range(3 if on_gpu else 1):
            step()
    times: Counter[str] = Counter()
    for row in profiled.key_averages():
        times[kind_of(row.key)] += row.self_device_time_total if on_gpu else row.self_cpu_time_total
    total = sum(times.values())
    if not total:
        return Found(False, "the profiler recorded nothing")
    shares = {kind: spent / total for kind, spent in times.most_common()}
    return Found(shares.get("products", 0) > 0, ", ".join(f"{k} {v:.0%}" for k, v in shares.items()), shares)
