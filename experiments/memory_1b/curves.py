"""Loss curves of a small model with adamw, adamw_8bit and adafactor: one command, one picture, one table.

python experiments/memory_1b/curves.py [--steps 900] [--seeds 1]
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
OPTIMIZERS = {"adamw": "#1f4e79", "adamw_8bit": "#c07000", "adafactor": "#5a8f3c"}


def train(optimizer: str, seed: int, steps: int) -> Path:
    """The folder of one run."""
    folder = Path("runs") / "memory_curves" / f"{optimizer}_{seed}"
    overrides = [
        "experiment=quickstart", f"optimizer={optimizer}", f"seed={seed}", f"trainer.max_steps={steps}",
        f"trainer.val_every_steps={steps}", "trainer.progress_bar=false", "score_test=false", f"hydra.run.dir={folder}",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "khasr.train", *overrides], check=True, stdout=subprocess.DEVNULL)
    return folder


def main() -> None:
    """Trains, draws curves.png and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    table = ["optimizer,seed,step,loss"]
    print("| optimizer | training loss, last 50 steps, by seed | val WER, %, by seed |\n| --- | --- | --- |")
    for optimizer, colour in OPTIMIZERS.items():
        ends, rates = [], []
        for seed in range(1, arguments.seeds + 1):
            folder = train(optimizer, seed, arguments.steps)
            rows = [row for row in csv.DictReader((folder / "metrics.csv").open()) if row["train/loss"]]
            steps, losses = [int(row["step"]) for row in rows], [float(row["train/loss"]) for row in rows]
            axes.plot(steps, losses, color=colour, alpha=0.8, lw=1, label=optimizer if seed == 1 else None)
            table += [f"{optimizer},{seed},{step},{loss:.4f}" for step, loss in zip(steps, losses, strict=True)]
            ends.append(float(np.mean(losses[-5:])))
            rates.append(100 * json.loads((folder / "results.json").read_text())["val"]["wer"])
        cells = [", ".join(f"{value:.{digits}f}" for value in values) for values, digits in ((ends, 3), (rates, 1))]
        print(f"| {optimizer} | {cells[0]} | {cells[1]} |", flush=True)
    axes.set(xlabel="optimizer step", ylabel="training loss", yscale="log")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(HERE / "curves.png")
    (HERE / "curves.csv").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
