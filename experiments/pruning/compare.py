"""The same search of 24 trials on spoken digits with and without pruners: best WER, trials cut, steps and hours.

A small model is trained on the digits of four speakers once. The search is for settings of fine-tuning to two others.

python experiments/pruning/compare.py DIGITS OUT        DIGITS: the folder of digit strings (audio/, utterances.tsv)

The settings of the trials are drawn at random with one seed, so that they are the same in every search, and training is
deterministic: a pruned trial is the beginning of the same trial without pruner. The command continues what was stopped.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PRUNERS = {
    "none": ["sweep.pruner=none"],
    "asha": ["sweep.pruner=asha"],
    "asha_from_0.4": ["sweep.pruner=asha", "sweep.grace=0.4"],
    "median": ["sweep.pruner=median"],
    "hyperband": ["sweep.pruner=hyperband"],
}
NEW_SPEAKERS = ("george", "jackson")
PARTS = ["train"] * 40 + ["val"] * 15 + ["test"]
"""Of the first utterances of each new speaker that have two or three digits."""

OPTIONS = [
    "data=folder", "data.root=digits", "data.batch_size=8", "data.eval_batch_size=40", "model=tiny",
    "model.init=pretrained", "finetune=feature_encoder_frozen", "precision=fp32", "model.hidden_dropout=0",
    "model.final_dropout=0", "model.activation_dropout=0", "model.mask_feature_prob=0",
    "trainer.accumulate_grad_batches=1", "trainer.log_every_steps=12", "trainer.progress_bar=false",
]  # fmt: skip
BASE = [
    "model.checkpoint=start", "model.head=new", "data.split=./base.tsv", "optimizer.lr=1.4e-2", "schedule.warmup=0.1",
    "trainer.max_steps=300", "trainer.val_every_steps=0.5", "hydra.run.dir=base",
]  # fmt: skip
SPACE = [
    "model.checkpoint=base", "model.head=keep", "data.split=./split.tsv", "trainer.val_every_steps=0.125",
    "optimizer.lr=tag(log,interval(3e-4,1e-1))", "schedule=linear,tri_stage", "schedule.warmup=interval(0.05,0.2)",
    "model.mask_time_prob=interval(0.0,0.3)", "trainer.max_steps=24,48",
]  # fmt: skip
COLUMNS = ("pruner", "run", "status", "lr", "schedule", "warmup", "mask_time_prob", "max_steps", "steps", "wer",
           "train_seconds")  # fmt: skip


def main() -> None:
    """Runs the searches one after the other, and writes trials.csv and searches.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("digits", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--pruners", nargs="*", default=list(PRUNERS), choices=list(PRUNERS))
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    for name, target in (("digits", options.digits), ("start", ROOT / "experiments/card_in_small/starts/small")):
        if not (out / name).exists():
            (out / name).symlink_to(target.resolve())
    write_splits(options.digits / "utterances.tsv", out)
    if not (out / "base" / "hypotheses.tsv").is_file():
        train(out, *OPTIONS, *BASE)
    searches = []
    for pruner in options.pruners:
        costs = out / pruner / "costs.json"
        if not costs.is_file():
            costs.parent.mkdir(exist_ok=True)
            costs.write_text(json.dumps(search(out, pruner, options.trials)))
        searches.append(summarise(out, pruner) | json.loads(costs.read_text()))
        write(out / "searches.csv", searches)
        write(out / "trials.csv", [trial for done in options.pruners for trial in trials(out, done)])
        print(json.dumps(searches[-1]), flush=True)


def write_splits(utterances: Path, out: Path) -> None:
    """The parts of the base and of the search; other utterances are left out."""
    with utterances.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if len(row["text"].split()) <= 3]
    ids = {
        speaker: sorted(str(Path(row["audio"]).with_suffix("")) for row in rows if row["speaker"] == speaker)
        for speaker in sorted({row["speaker"] for row in rows})
    }
    new = [(id_, part) for speaker in NEW_SPEAKERS for id_, part in zip(ids[speaker], PARTS, strict=False)]
    others = [(id_, "train") for speaker, its in ids.items() if speaker not in NEW_SPEAKERS for id_ in its]
    held_out = [(id_, part) for id_, part in new if part != "train"]
    for name, parts in (("split.tsv", new), ("base.tsv", [*others, *held_out])):
        lines = ["id\tpart", *(f"{id_}\t{part}" for id_, part in parts)]
        (out / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def train(out: Path, *words: str) -> None:
    """Runs khasr.train in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KHASR_CACHE": str(out / "cache")}
    subprocess.run([sys.executable, "-m", "khasr.train", *words], cwd=out, env=environment, check=True)


def search(out: Path, pruner: str, count: int) -> dict[str, float]:
    """Runs a search, or continues it; returns the seconds of its processes and of the clock."""
    words = [
        "-m", *OPTIONS, *SPACE, *PRUNERS[pruner], "hydra/sweeper=optuna", "hydra/sweeper/sampler=random",
        "hydra.sweeper.sampler.seed=1", f"hydra.sweeper.n_trials={count}", f"hydra.sweep.dir={pruner}",
    ]  # fmt: skip
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    train(out, *words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_seconds": round(cpu, 1), "clock_seconds": round(time.time() - clock, 1)}


def trials(out: Path, pruner: str) -> list[dict[str, Any]]:
    """A row for each run of a search that has ended."""
    import yaml

    rows = []
    for path in sorted((out / pruner).glob("*/results.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        options = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        scores = results["pruned"] if results["status"] == "pruned" else results["val"] or {}
        values = {
            "lr": options["optimizer"]["lr"], "schedule": options["schedule"]["name"],
            "warmup": options["schedule"]["warmup"], "mask_time_prob": options["model"]["mask_time_prob"],
            "max_steps": options["trainer"]["max_steps"], "steps": results["train"]["steps"],
            "train_seconds": results["train"]["seconds"],
        }  # fmt: skip
        rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in values.items()}
        row = {"pruner": pruner, "run": path.parent.name, "status": results["status"], "wer": scores.get("wer")}
        rows.append({column: (row | rounded)[column] for column in COLUMNS})
    return rows


def summarise(out: Path, pruner: str) -> dict[str, Any]:
    """What a search found and what it cost."""
    rows = trials(out, pruner)
    best = min((row for row in rows if row["status"] == "completed"), key=lambda row: float(row["wer"]))
    return {
        "pruner": pruner, "trials": len(rows), "cut": sum(row["status"] == "pruned" for row in rows),
        "best_wer": round(best["wer"], 4), "best_run": best["run"], "steps": sum(row["steps"] for row in rows),
        "training_hours": round(sum(row["train_seconds"] for row in rows) / 3600, 4),
    }  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
