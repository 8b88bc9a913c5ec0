"""What pruners do to the trials of the search without pruner, in random orders: steps, trials cut, and the best WER.

python experiments/pruning/simulate.py OUT [--orders 50]        OUT: the folder of compare.py

Since a pruned trial is the beginning of the same trial without pruner, the validations of the complete runs suffice.
"""

import argparse
import csv
import random
from pathlib import Path
from statistics import fmean

import optuna

from khasr.config import Config, SweepConfig
from khasr.run.folder import RunFolder, read_metrics
from khasr.training.pruning import build_pruner, grace_percent

PRUNERS = [
    SweepConfig(pruner="median"),
    SweepConfig(pruner="median", grace=0.4),
    *(
        SweepConfig(pruner=pruner, grace=grace, reduction_factor=factor)
        for pruner in ("asha", "hyperband")
        for factor in (2, 3)
        for grace in (None, 0.25, 0.4)
    ),
]

Curve = tuple[Config, list[tuple[int, float]]]


def main() -> None:
    """Writes simulated.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--orders", type=int, default=50)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves = [read_curve(path.parent) for path in sorted((options.out / "none").glob("*/metrics.csv"))]
    rows = []
    for pruner in PRUNERS:
        found = [search(curves, pruner, seed) for seed in range(options.orders)]
        whole = sum(config.trainer.max_steps or 0 for config, _ in curves)
        best = min(min(wer for _, wer in points) for _, points in curves)
        rows.append(
            {
                "pruner": pruner.pruner, "grace": pruner.grace or "", "reduction_factor": pruner.reduction_factor,
                "steps_percent": round(100 * fmean(steps for _, _, steps in found) / whole, 1),
                "cut": round(fmean(cut for _, cut, _ in found), 1),
                "best_wer_percent": round(100 * fmean(wer for wer, _, _ in found), 2),
                "found_best_percent": round(100 * fmean(wer == best for wer, _, _ in found)),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    with (options.out / "simulated.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_curve(folder: Path) -> Curve:
    """The options of a run, and the step and WER of each validation."""
    rows = read_metrics(RunFolder(folder).metrics)
    return RunFolder(folder).read_config(), [(int(r["step"]), float(r["val/wer"])) for r in rows if "val/wer" in r]


def search(curves: list[Curve], options: SweepConfig, seed: int) -> tuple[float, int, int]:
    """The best WER of the completed trials, the number of trials cut, and the steps, with trials in a random order."""
    study = optuna.create_study(study_name=f"order {seed}", pruner=build_pruner(options))
    best, cut, steps = float("inf"), 0, 0
    for config, points in random.Random(seed).sample(curves, len(curves)):
        config.sweep = options
        total = config.trainer.max_steps or 1
        grace = grace_percent(config, total)
        trial = study.ask()
        pruned = False
        for step, wer in points:
            trial.report(wer, 100 * step // total)
            pruned = trial.should_prune() and grace <= 100 * step // total < 100
            if pruned:
                break
        steps += step
        cut += pruned
        reached = min(wer for at, wer in points if at <= step)
        study.tell(trial, None if pruned else reached, optuna.trial.TrialState.PRUNED if pruned else None)
        best = best if pruned else min(best, reached)
    return best, cut, steps


if __name__ == "__main__":
    main()
