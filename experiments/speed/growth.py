"""How cost grows: seconds per optimizer step and peak memory against audio in a batch and against the model's size.

    python experiments/speed/growth.py [--models tiny 300m 1b]

Random weights and noise in utterances of 5 s; AdamW, the feature encoder frozen and activations recomputed save in the
tiny one, as the recipes have them. Prints a table, and draws growth.png and writes growth.csv beside this file.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import nn

from khasr.config import compose
from khasr.model.allocator import set_allocator
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.finetune import apply_finetune
from khasr.model.weights import load_start
from khasr.optim.parameters import build_optimizer

HERE = Path(__file__).resolve().parent
SECONDS = {"tiny": [5, 10, 20, 40, 80], "300m": [5, 20, 80], "1b": [5, 20, 40]}
UTTERANCE, SYMBOLS = 5, 70
_LONG = 10  # s of audio, in a large model's step
MODELS = {
    "tiny": ["experiment=quickstart"],
    "300m": ["model=xlsr_300m", "model.init=random"],
    "1b": ["model=xlsr_1b", "model.init=random"],
}
COLOURS = {"tiny": "#5a8f3c", "300m": "#1f4e79", "1b": "#c07000"}


def measure(name: str, seconds: int) -> dict[str, float]:
    """Seconds of a step (the fastest of three; long steps are timed once) and the peak memory of the process in GiB."""
    config = compose(*MODELS[name])
    pl.seed_everything(0, verbose=False)
    model = CtcModel(load_start(config.model).encoder, SYMBOLS, config.model)
    set_allocator(model)
    apply_finetune(model, config.finetune, config.model)
    model.train()
    optimizer = build_optimizer(config.optimizer, model)
    count = seconds // UTTERANCE
    waveforms = torch.randn(count, UTTERANCE * 16_000)
    lengths = torch.full((count,), UTTERANCE * 16_000)
    targets = torch.randint(2, SYMBOLS, (count, 50))
    took = []
    for _ in range(1 if name != "tiny" and seconds > _LONG else 3):
        since = time.perf_counter()
        log_probs, frames = model(waveforms, lengths)
        ctc_losses(log_probs, frames, targets, torch.full((count,), 50)).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        took.append(time.perf_counter() - since)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
    return {"seconds": min(took), "peak": peak, "parameters": sum(p.numel() for p in model.parameters())}


def main() -> None:
    """Measures each point in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        name, seconds = arguments.point.split(":")
        print(json.dumps(measure(name, int(seconds))))
        return
    rows = []
    print("| model | parameters | s of audio in a batch | s per step | s of audio/s | peak, GiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in arguments.models:
        for seconds in SECONDS[name]:
            done = subprocess.run(
                [sys.executable, __file__, f"--point={name}:{seconds}"], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append({"model": name, "audio_seconds": seconds} | found)
            print(
                f"| {name} | {found['parameters'] / 1e6:.1f} M | {seconds} | {found['seconds']:.2f} "
                f"| {seconds / found['seconds']:.1f} | {found['peak']:.1f} |",
                flush=True,
            )
    with (HERE / "growth.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2), ("seconds", "peak"), ("seconds per step", "peak memory, GiB"), strict=True
    ):
        for name in arguments.models:
            points = [(row["audio_seconds"], row[key]) for row in rows if row["model"] == name]
            axes.plot(*zip(*points, strict=True), marker="o", color=COLOURS[name], label=name)
        axes.set(xlabel="seconds of audio in a batch", ylabel=label, xscale="log", yscale="log")
        axes.set_xticks(SECONDS["tiny"], [str(s) for s in SECONDS["tiny"]])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
        if key == "seconds":
            axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.34))
    figure.savefig(HERE / "growth.png")


if __name__ == "__main__":
    main()
