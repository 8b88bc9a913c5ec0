"""The cases of a check: what each trains or computes, and when it is good."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from experiments.gpu_check import performance
from experiments.gpu_check.machine import Found, Machine, last_line, read_results, read_rows
from experiments.gpu_check.parity import one_step
from khasr.config import ModelConfig, compose
from khasr.model.ctc import CtcModel
from khasr.model.finetune import apply_finetune
from khasr.model.footprint import count_step, step_footprint
from khasr.model.weights import load_start
from khasr.run.folder import RunFolder
from khasr.training.prediction import memory_by_use
from khasr.training.recomputation import FILLED

_HALF = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Largest relative difference from transformers: rounding, of which half precision has more.
_TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.02}


Check = Callable[[Machine], Found]


def all_cases(machine: Machine) -> dict[str, Check]:
    """The cases that the machine can run, by name."""
    gpu = machine.gpus > 0
    cases: dict[str, Check] = {}
    for precision in ("fp32", "bf16", "fp16") if gpu else ("fp32",):
        cases[f"one step equals transformers', {precision}"] = partial(parity, precision=precision)
    for model, options in _MEMORY if gpu else ():
        cases[f"memory, {model} {' '.join(options)}".strip()] = partial(memory, model=model, options=options)
    if not gpu:
        cases["memory, counted without values"] = memory_without_values
    for options in _TRAINED if gpu else (["precision=fp32"],):
        cases[f"trains, {' '.join(options)}"] = partial(trains, options=options)
    cases["beside transformers' Trainer"] = performance.beside_trainer
    cases["shares of a step's time"] = performance.profile_shares
    for model in ("xlsr_300m", "xlsr_1b") if gpu else ():
        cases[f"largest batch, {model}"] = partial(performance.largest_batch, model=model)
    for precision in ("fp32", "bf16") if gpu else ():
        cases[f"waits for the GPU, {precision}"] = partial(performance.waits, precision=precision)
    cases["SIGTERM saves, and the run resumes"] = stopped
    precision = "precision=bf16" if gpu else "precision=fp32"
    cases["resumed equals uninterrupted"] = partial(resumes, options=[precision])
    if gpu:
        cases["resumed equals uninterrupted, deterministic"] = partial(
            resumes, options=[precision, "trainer.deterministic=true"]
        )
    cases["deterministic: twice the same"] = deterministic
    if machine.gpus > 1:
        for strategy in ("ddp", "fsdp"):
            for options in (["precision=fp32"], ["precision=bf16", "model.gradient_checkpointing=true"]):
                cases[f"{strategy} on 2 equals accumulation on 1, {' '.join(options)}"] = partial(
                    equals_accumulation, strategy=strategy, options=options
                )
    for options, message in _REFUSED if gpu else _REFUSED_BY_CPUS:
        cases[f"refused, {' '.join(options)}"] = partial(refused, options=options, message=message)
    return cases


# ------------------------------------------------------------------------------------------------- without training


def parity(machine: Machine, precision: str) -> Found:
    """Loss and gradient norm of one step beside transformers' Wav2Vec2ForCTC with the same weights."""
    ours, theirs = one_step("cuda" if machine.gpus else "cpu", _HALF[precision])
    differences = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    text = f"loss {ours[0]:.5f} and {theirs[0]:.5f}, gradient norm {ours[1]:.5f} and {theirs[1]:.5f}"
    return Found(max(differences) <= _TOLERANCE[precision], text, {"relative differences": differences})


_MEMORY = [
    (model, [optimizer, f"model.gradient_checkpointing={recompute}"])
    for model in ("xlsr_300m", "xlsr_1b", "xlsr_2b")
    for optimizer in ("optimizer=adamw", "optimizer=adafactor")
    for recompute in ("true", "false")
]
_BATCH = (8, 5 * 16_000)


def memory(machine: Machine, model: str, options: list[str]) -> Found:
    """Predicted and measured peak of two optimizer steps on 8 x 5 s in bf16; not run if it would fill the GPU."""
    from khasr.optim.parameters import build_optimizer

    config = compose(f"model={model}", "model.init=random", "precision=bf16", *options)
    predicted = sum(memory_by_use(config, step_footprint(_builder(config.model), *_BATCH, torch.bfloat16)).values())
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    if predicted > FILLED * total:
        return Found(None, f"predicted {predicted:.1f} GiB, of which the GPU has {total:.1f}")
    torch.cuda.reset_peak_memory_stats()
    built = _builder(config.model)().cuda()
    optimizer = build_optimizer(config.optimizer, built)
    for _ in range(2):
        count_step(built, *_BATCH, torch.bfloat16)
        optimizer.step()
        optimizer.zero_grad()
    measured = torch.cuda.max_memory_reserved() / 2**30
    return Found(
        0.85 <= predicted / measured <= 1.25,
        f"predicted {predicted:.1f} GiB, measured {measured:.1f}",
        {"predicted": predicted, "measured": measured},
    )


def memory_without_values(machine: Machine) -> Found:
    """The bytes of a step counted on tensors without values, and those of a step that is computed."""
    options = compose("experiment=quickstart").model
    counted, computed = (
        step_footprint(_builder(options), 4, 32_000, torch.bfloat16).activation_bytes,
        count_step(_builder(options)(), 4, 32_000, torch.bfloat16).activation_bytes,
    )
    text = f"{counted / 2**20:.1f} MiB counted, {computed / 2**20:.1f} MiB in a step that is computed"
    return Found(0.95 * computed < counted < 1.15 * computed, text, {"counted": counted, "computed": computed})


def _builder(options: ModelConfig) -> Callable[[], CtcModel]:
    def build() -> CtcModel:
        model = CtcModel(load_start(options).encoder, 80, options)
        apply_finetune(model, compose().finetune, options)
        return model.train()

    return build


# -----------------------------------------------------------------------------------------------------------training

_TRAINED = [
    ["precision=fp32"], ["precision=bf16"], ["precision=fp16"], ["precision=bf16", "optimizer=adamw_8bit"],
    ["precision=bf16", "optimizer=adafactor"], ["precision=bf16", "finetune=lora"],
    ["precision=bf16", "finetune.freeze_encoder_steps=5"], ["precision=bf16", "model.gradient_checkpointing=true"],
    ["precision=bf16", "model.compile=true"],
]  # fmt: skip


def trains(machine: Machine, options: list[str]) -> Found:
    """The loss is finite and falls, and few steps are skipped."""
    code, message, folder = machine.run("trains " + " ".join(options).replace("/", " "), *options)
    if code:
        return Found(False, last_line(message))
    train = read_results(folder)["train"]
    losses = [float(row["train/loss"]) for row in read_rows(folder) if row["train/loss"]]
    speed, peak, skipped = (train[key] for key in ("audio_seconds_per_second", "peak_memory_gib", "skipped_share"))
    text = f"loss {losses[0]:.2f} to {losses[-1]:.2f}, {speed:.0f} s of audio/s, {peak:.1f} GiB, {skipped:.0%} skipped"
    numbers = {"losses": losses, "audio_seconds_per_second": speed, "peak_gib": peak, "skipped_share": skipped}
    # An overflow or two at the start of fp16 is how its scale is found.
    return Found(losses[-1] < losses[0] < float("inf") and skipped <= 0.5, text, numbers)


def resumes(machine: Machine, options: list[str]) -> Found:
    """The weights of a run of half the steps that is continued, and those of an uninterrupted one."""
    steps = 20 if machine.gpus else 4
    whole, half = machine.run("whole", *options), machine.run("half", *options, f"trainer.max_steps={steps // 2}")
    code, message = machine.train([f"resume='{half[2]}'", f"trainer.max_steps={steps}"], half[2])
    for failed, printed in (whole[:2], half[:2], (code, message)):
        if failed:
            return Found(False, last_line(printed))
    return _same_weights(whole[2], half[2], machine.gpus == 0 or "trainer.deterministic=true" in options)


def stopped(machine: Machine) -> Found:
    """A run that gets SIGTERM saves and exits with 143, and can be resumed."""
    steps = 400 if machine.gpus else 40
    options = machine.options(
        f"trainer.max_steps={steps}", "trainer.val_every_steps=1000000", "trainer.log_every_steps=1"
    )
    folder = machine.scratch / "stopped"
    command = [sys.executable, "-m", "khasr.train", *options, f"hydra.run.dir='{folder}'"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + machine.longest_seconds
        while process.poll() is None and not (RunFolder(folder).metrics.is_file() and len(read_rows(folder)) > 2):
            if time.monotonic() > deadline:
                return Found(False, f"no step after {machine.longest_seconds} s")
            time.sleep(0.1)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, message = process.communicate(timeout=machine.longest_seconds)
        seconds = time.monotonic() - begun
    finally:
        process.kill()
    if process.returncode != 128 + signal.SIGTERM or not RunFolder(folder).last.is_file():
        return Found(False, f"exit code {process.returncode}: {last_line(message)}")
    saved = read_results(folder)["train"]["steps"]
    code, message = machine.train([f"resume='{folder}'", f"trainer.max_steps={saved + 2}"], folder)
    done = read_results(folder)
    good = code == 0 and done["status"] == "completed" and done["train"]["steps"] == saved + 2
    text = f"stopped at step {saved} within {seconds:.0f} s, resumed to step {done['train']['steps']}"
    return Found(good, text if code == 0 else last_line(message), {"seconds": seconds})


def deterministic(machine: Machine) -> Found:
    """Two runs with trainer.deterministic=true have the same weights, bit for bit."""
    precision = "precision=bf16" if machine.gpus else "precision=fp32"
    runs = [machine.run(f"deterministic {n}", precision, "trainer.deterministic=true") for n in (1, 2)]
    for code, message, _ in runs:
        if code:
            return Found(False, last_line(message))
    return _same_weights(runs[0][2], runs[1][2], True)


def equals_accumulation(machine: Machine, strategy: str, options: list[str]) -> Found:
    """Losses, gradient norms and val scores of two GPUs with a batch each, and of one with two batches."""
    common = [*options, "data.order=random", "optimizer.weight_decay=0.5", "data.eval_batch_size=5"]
    name = " ".join([strategy, *options])
    one = machine.run(f"one beside {name}", *common, "trainer.accumulate_grad_batches=2")
    two = machine.run(f"two, {name}", *common, f"trainer.strategy={strategy}", "trainer.devices=2")
    for code, message, _ in (one, two):
        if code:
            return Found(False, last_line(message))
    worst = 0.0
    for ours, theirs in zip(read_rows(two[2]), read_rows(one[2]), strict=True):
        for name in ("train/loss", "train/grad_norm", "val/loss"):
            if ours[name]:
                worst = max(worst, abs(float(ours[name]) / float(theirs[name]) - 1))
    return Found(
        worst < (1e-2 if "precision=fp32" in options else 5e-2),
        f"losses and gradient norms differ by {worst:.1e} at most",
        {"largest difference": worst},
    )


_REFUSED = [
    (["trainer=fsdp", "optimizer=adamw_8bit"], "8-bit states cannot be collected"),
    (["trainer=fsdp", "optimizer=adafactor"], "a shard has no rows and columns"),
    (["trainer=fsdp", "finetune.freeze_encoder_steps=5"], "cannot be frozen or released"),
    (["trainer=fsdp", "finetune=lora"], "adapters are merged into whole weights"),
    (["trainer=fsdp", "optimizer.ema_decay=0.999"], "the average is of whole weights"),
    (["trainer=fsdp", "model.layerdrop=0.1"], "every device has to compute every layer"),
    (["trainer=fsdp", "model.compile=true"], "compiled layers have not been checked"),
    (["trainer=ddp", "trainer.devices=64"], "but torch finds"),
]
_REFUSED_BY_CPUS = [(["trainer=fsdp", "trainer.devices=2"], "trainer.strategy=fsdp needs GPUs")]


def refused(machine: Machine, options: list[str], message: str) -> Found:
    """The run ends at once, with a message and without a traceback."""
    code, printed, _ = machine.run("refused " + " ".join(options), "precision=bf16", *options)
    good = code in (1, 2) and message in printed and "Traceback" not in printed
    return Found(good, last_line(printed))


# ---------------------------------------------------------------------------------------------------------- reading


def _same_weights(one: Path, two: Path, exactly: bool) -> Found:
    ours, theirs = (
        torch.load(RunFolder(folder).last, map_location="cpu", weights_only=True)["state_dict"] for folder in (one, two)
    )
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    return Found(
        worst == 0 or (not exactly and worst < 1e-3), f"weights differ by {worst:.1e} at most", {"most": worst}
    )
