"""Compares khasr with transformers' Trainer, in turn: seconds of audio per second, peak memory, final loss and WER.

    python experiments/speed/bench.py [--rounds 1] [--out FOLDER] OVERRIDE...

The overrides are those of `python -m khasr.train`, e.g. experiment=speed_peer data.root=DIGITS. Each round trains both
from the same weights on the same utterances for as many epochs; speed is of whole epochs after the first. Prints a
table; runs/speed_bench keeps what it was made of.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

from khasr.config import compose
from khasr.data.datamodule import CorpusDataModule
from khasr.scoring.error_rates import word_edits
from khasr.scoring.hypotheses import read_hypotheses
from khasr.scoring.significance import paired_difference, rate_interval

HERE = Path(__file__).resolve().parent
Hypotheses = list[tuple[str, str, str]]


def ours(overrides: list[str], steps_per_epoch: int, folder: Path) -> tuple[list[float], float, float, Hypotheses]:
    """Seconds of audio per second of each epoch, peak memory in GiB, mean loss of the last epoch, test hypotheses."""
    subprocess.run(
        [
            sys.executable, "-m", "khasr.train", *overrides, f"trainer.log_every_steps={steps_per_epoch}",
            "trainer.val_every_steps=1000000", "score_test=true", f"hydra.run.dir={folder}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    rows = [row for row in csv.DictReader((folder / "metrics.csv").open()) if row["train/loss"]]
    results = json.loads((folder / "results.json").read_text())
    parts, _ = read_hypotheses(folder / "hypotheses.tsv")
    hypotheses = sorted((h.id, h.reference, h.hypothesis) for h in parts["test"])
    speeds = [float(row["train/audio_seconds_per_second"]) for row in rows]
    return speeds, results["train"]["peak_memory_gib"], float(rows[-1]["train/loss"]), hypotheses


def theirs(overrides: list[str], steps_per_epoch: int, out: Path) -> tuple[list[float], float, float, Hypotheses]:
    """The same for the Trainer."""
    subprocess.run([sys.executable, str(HERE / "peer.py"), str(out), *overrides], check=True, stdout=subprocess.DEVNULL)
    found = json.loads(out.read_text())
    speeds = [found["audio_seconds_per_epoch"] / seconds for seconds in found["epoch_seconds"]]
    loss = statistics.fmean(found["losses"][-steps_per_epoch:])
    return speeds, found["peak_gib"], loss, [tuple(line) for line in found["hypotheses"]]


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/speed_bench"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = compose(*arguments.overrides)
    data = CorpusDataModule(config.data, config.seed, read_test=True)
    data.prepare(progress=False)
    steps = data.training_order().steps_per_epoch
    speeds: dict[str, list[float]] = {"transformers": [], "khasr": []}
    ratios, last = [], {}
    for turn in range(arguments.rounds):
        folder = arguments.out / f"khasr_{turn}"
        if folder.exists():
            raise SystemExit(f"{folder} exists; give a different folder by --out.")
        last["transformers"] = theirs(arguments.overrides, steps, arguments.out / f"peer_{turn}.json")
        last["khasr"] = ours(arguments.overrides, steps, folder)
        for name, (each, *_) in last.items():
            speeds[name] += each[1:]
        ratios.append(
            statistics.harmonic_mean(last["khasr"][0][1:]) / statistics.harmonic_mean(last["transformers"][0][1:])
        )
    print(f"{' '.join(arguments.overrides)}\n{steps} steps per epoch, {arguments.rounds} round(s)\n")
    print("| | s of audio/s, epochs after the first | peak, GiB | loss, last epoch | test WER, % | 95 % |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    counts = {}
    for name, (_, peak, loss, hypotheses) in last.items():
        counts[name] = [word_edits(reference, hypothesis) for _, reference, hypothesis in hypotheses]
        wer = rate_interval([e.total for e in counts[name]], [e.units for e in counts[name]])
        low, high, speed = min(speeds[name]), max(speeds[name]), statistics.harmonic_mean(speeds[name])
        print(
            f"| {name} | {speed:.1f} ({low:.1f} to {high:.1f}) | {peak:.2f} | {loss:.3f} "
            f"| {100 * wer.value:.1f} | {100 * wer.low:.1f} to {100 * wer.high:.1f} |"
        )
    words = [e.units for e in counts["khasr"]]
    assert [e.units for e in counts["transformers"]] == words, "they were scored on other utterances"
    difference = paired_difference([e.total for e in counts["khasr"]], [e.total for e in counts["transformers"]], words)
    print(
        f"\nratio {', '.join(f'{ratio:.2f}' for ratio in ratios)}; WER of khasr minus that of transformers "
        f"{100 * difference.value:+.1f} points ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
    )


if __name__ == "__main__":
    main()
