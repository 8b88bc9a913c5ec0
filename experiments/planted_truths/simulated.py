"""Simulated studies whose truth is known: runs of two models over settings, with seeds, noise and failures.

The large model's WER is the small one's, moved by what is planted: an optimum of one setting that lies elsewhere
(`cause`), a size that is worse whatever is set (`size`), or nothing (`null`): then both are the same model, of the same
size, since at equal compute a larger model that learns as much an update would rightly be called worse.
"""

import csv
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from khasr.scoring.hypotheses import Hypothesis, write_hypotheses
from khasr.study.runs import COLUMNS, Runs

SMALL, LARGE = "small", "large"
PARAMETERS = {SMALL: 1.2e6, LARGE: 4.8e6}

# Option, values tried (the reference first), and how much log WER rises per step of its scale away from the optimum.
SETTINGS: dict[str, list[float]] = {
    "optimizer.lr": [1e-3, 3e-3, 1e-2],
    "schedule.warmup": [0.36, 0.1, 0.03],
    "model.mask_time_prob": [0.75, 0.4, 0.05],
    "trainer.max_steps": [1000.0, 2000.0, 4000.0],
    "finetune.reinitialise": [0.0, 1.0, 2.0],
}
REFERENCE = {name: values[0] for name, values in SETTINGS.items()}
_EFFECT = 0.12  # of one value away from the best, in log WER, of a setting that matters


@dataclass(frozen=True)
class Plan:
    """How a study is laid out.

    Attributes:
        layout: `one_at_a_time` (the reference, and each other value of each setting alone), `grid` (all combinations of
            the first three settings) or `random` (as many trials for each model, each with values at random, and the
            reference apart).
        seeds: runs of each combination (`random`: of the reference).
        trials: of each model, for `random`.
        noise: standard deviation between seeds in log WER.
        failures: share of runs that diverge, whatever is set.
        settings: how many of SETTINGS vary.
        seeds_large, noise_large, failures_large: of the large model, where they differ.
    """

    layout: str = "one_at_a_time"
    seeds: int = 3
    trials: int = 60
    noise: float = 0.04
    failures: float = 0.04
    settings: int = 5
    seeds_large: int | None = None
    noise_large: float | None = None
    failures_large: float | None = None

    def of(self, model: str) -> "Plan":
        """The plan of one model's runs."""
        if model == SMALL:
            return self
        own = {"seeds": self.seeds_large, "noise": self.noise_large, "failures": self.failures_large}
        return replace(self, **{name: value for name, value in own.items() if value is not None})  # type: ignore[arg-type]


def simulate(plan: Plan, truth: str, seed: int, strength: float = 1.0) -> tuple[Runs, str]:
    """A study's runs, and the setting that was planted in it ("" for none).

    Args:
        truth: cause, size or null.
        strength: of what is planted; at 1 the large model loses about 0.3 in log WER at the reference.
    """
    rng = np.random.default_rng(seed)
    names = list(SETTINGS)[: min(3, plan.settings) if plan.layout == "grid" else plan.settings]
    planted = names[seed % len(names)] if truth == "cause" else ""
    # Where each setting is best, as the place among its values: for both models the same but for what is planted.
    best = {
        name: dict.fromkeys(PARAMETERS, place)
        for name, place in zip(names, rng.integers(0, 3, len(names)), strict=True)
    }
    weight = {name: float(rng.uniform(0, _EFFECT)) for name in names}
    if planted:
        best[planted] = {SMALL: 0, LARGE: 2}
        weight[planted] = 0.15 * strength
    base = float(rng.uniform(0.2, 0.45))
    worse = 0.25 * strength if truth == "size" else 0.0

    parameters = PARAMETERS if truth != "null" else {SMALL: 1.2e6, LARGE: 1.2e6 + 1}
    rows, curves = [], []
    for model in PARAMETERS:
        for number, (values, run_seed) in enumerate(_layout(plan.of(model), names, rng)):
            mean = math.log(base) + (worse if model == LARGE else 0.0)
            for name in names:
                mean += weight[name] * abs(SETTINGS[name].index(values[name]) - best[name][model])
            noise = plan.of(model).noise
            wer = min(0.94, math.exp(mean + rng.normal(0, noise) - noise**2 / 2))  # the mean WER is exp(mean)
            run = f"{model}_{number:03d}"
            diverged = bool(rng.random() < plan.of(model).failures)
            rows.append(_row(run, model, parameters[model], values, run_seed, wer, diverged))
            curves += _curve(run, values, math.nan if diverged else wer)
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*COLUMNS, *(c for c in table.columns if c not in COLUMNS)])
    empty = pd.DataFrame(columns=["run", "part", "id", "reference", "hypothesis", "edits", "words", "seconds"])
    return Runs(table, pd.DataFrame(curves), empty), planted


def _layout(plan: Plan, names: list[str], rng: np.random.Generator) -> list[tuple[dict[str, float], int]]:
    start = {name: SETTINGS[name][0] for name in names}
    combinations = [start]
    if plan.layout == "grid":
        for name in names:
            combinations = [c | {name: v} for c in combinations for v in SETTINGS[name]]
    elif plan.layout == "one_at_a_time":
        combinations += [start | {name: v} for name in names for v in SETTINGS[name][1:]]
    laid_out = [(values, seed) for values in combinations for seed in range(1, plan.seeds + 1)]
    if plan.layout == "random":
        for trial in range(plan.trials):
            laid_out.append(({name: float(rng.choice(SETTINGS[name])) for name in names}, 100 + trial))
    return laid_out


def _row(
    run: str, model: str, parameters: float, values: dict[str, float], seed: int, wer: float, diverged: bool
) -> dict[str, Any]:
    steps = values.get("trainer.max_steps", 1000.0)
    return {
        "run": run, "source": "folder", "folder": run, "model": model, "parameters": parameters,
        "status": "diverged" if diverged else "completed", "error": "the loss was not finite" if diverged else None,
        "wer": math.nan if diverged else wer, "cer": math.nan if diverged else wer / 4, "steps": steps,
        "audio_seconds": steps * 12, "train_seconds": steps * 0.1, "lr_area": steps * values["optimizer.lr"] / 2,
        "flops": 6 * parameters * steps * 12 * 50, "model.name": model, "seed": seed, **values,
    }  # fmt: skip


def _curve(run: str, values: dict[str, float], wer: float) -> list[dict[str, Any]]:
    """WER falling to its last value, with audio and the area under the lr."""
    steps = values.get("trainer.max_steps", 1000.0)
    points = []
    for share in (0.1, 0.25, 0.5, 0.75, 1.0):
        step = steps * share
        if wer == wer:
            points.append({"step": step, "metric": "val/wer", "value": min(1.0, wer + (1 - wer) * (1 - share) ** 2)})
        points.append({"step": step, "metric": "train/audio_seconds", "value": step * 12})
        points.append({"step": step, "metric": "lr_area", "value": step * values["optimizer.lr"] / 2})
    return [{"run": run} | point for point in points]


def write_folders(runs: Runs, root: Path, hypotheses: int = 0, seed: int = 0) -> Path:
    """The study as run folders such as training leaves, with that many val utterances' hypotheses in each.

    Runs that diverged have no scores, as real ones have none. A WER is met within the rounding of whole edits.
    """
    rng = np.random.default_rng(seed)
    words = [f"ពាក្យ{i}" for i in range(40)]
    references = [" ".join(rng.choice(words, rng.integers(4, 12))) for _ in range(hypotheses)]
    options = runs.options
    for row in runs.table.to_dict("records"):
        folder = root / row["run"]
        folder.mkdir(parents=True)
        config: dict[str, Any] = {"data": {"name": "simulated"}}
        for name in options:
            section, _, option = name.rpartition(".")
            (config.setdefault(section, {}) if section else config)[option] = row[name]
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        scored = row["status"] == "completed"
        results = {
            "status": row["status"], "error": row["error"], "model": row["model"], "seed": row["seed"], "test": None,
            "val": {"wer": row["wer"], "cer": row["cer"], "utterances": hypotheses} if scored else None,
            "train": {"parameters": int(row["parameters"]), "steps": int(row["steps"]), "seconds": row["train_seconds"],
                      "audio_seconds": row["audio_seconds"]},
        }  # fmt: skip
        (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
        curve = runs.curves[runs.curves["run"] == row["run"]].pivot_table(
            index="step", columns="metric", values="value"
        )
        curve = curve.drop(columns="lr_area").assign(**{"train/lr": row["optimizer.lr"] / 2}).reset_index()
        curve["step"] = curve["step"].astype(int)
        curve.to_csv(folder / "metrics.csv", index=False)
        if scored and hypotheses:
            _write_hypotheses(folder / "hypotheses.tsv", references, row["wer"], words, rng)
    return root


def _write_hypotheses(
    path: Path, references: list[str], wer: float, words: list[str], rng: np.random.Generator
) -> None:
    found = []
    for number, reference in enumerate(references):
        hypothesis = [str(rng.choice(words)) if rng.random() < wer else word for word in reference.split()]
        found.append(Hypothesis(f"u{number:03d}", "", len(hypothesis) * 0.4, reference, " ".join(hypothesis)))
    write_hypotheses(path, {"val": found})


def sample_utterances(runs: Runs, count: int, sd: float, seed: int) -> Runs:
    """The study scored on that many utterances, drawn anew for it: two equal models then differ by chance.

    Args:
        sd: standard deviation of the difference of the models' WER that comes from the utterances.
    """
    rng = np.random.default_rng(seed)
    words = rng.integers(4, 13, count).astype(float)
    share = words / words.sum()
    wer = float(runs.table["wer"].mean())
    spread = sd / (wer * math.sqrt(2 * float((share**2).sum())))
    hard = {model: np.exp(spread * rng.normal(size=count) - spread**2 / 2) for model in PARAMETERS}
    table = runs.table.copy()
    table["wer"] = [w * float(share @ hard[m]) for w, m in zip(table["wer"], table["model"], strict=True)]
    scored = runs.table.dropna(subset=["wer"])
    texts = [
        pd.DataFrame(
            {"run": run, "part": "val", "id": range(count), "reference": "", "hypothesis": "",
             "edits": wer * words * hard[model], "words": words, "seconds": words}
        )
        for run, model, wer in zip(scored["run"], scored["model"], scored["wer"], strict=True)
    ]  # fmt: skip
    return replace(runs, table=table, hypotheses=pd.concat(texts, ignore_index=True))


def look_at_all(
    look: Callable[[Any], dict[str, object]], tasks: Sequence[tuple[Any, ...]], out: Path, processes: int = 1
) -> list[dict[str, str]]:
    """The row of each simulated study, in the order of the tasks, from a CSV file to which missing ones are added.

    Args:
        look: makes the row of a task; its first columns are the task.
    """
    pd.set_option("future.infer_string", False)  # on tables as small as these, objects take a quarter less time
    width = len(tasks[0])
    done: dict[tuple[str, ...], dict[str, str]] = {}
    if out.is_file():
        with out.open(encoding="utf-8", newline="") as file:
            # The last line is incomplete if the process was killed.
            found = [row for row in csv.DictReader(file) if None not in row.values()]
        done = {tuple(row.values())[:width]: row for row in found}
        _write_rows(out, list(done.values()))
    missing = [task for task in tasks if tuple(map(str, task)) not in done]
    with ProcessPoolExecutor(processes) as pool:
        for row in pool.map(look, missing):
            text = {name: str(value) for name, value in row.items()}
            done[tuple(text.values())[:width]] = text
            _write_rows(out, [text], append=len(done) > 1)
    asked = {tuple(map(str, task)): done[tuple(map(str, task))] for task in tasks}
    _write_rows(out, [*asked.values(), *(row for key, row in done.items() if key not in asked)])
    return list(asked.values())


def _write_rows(out: Path, rows: list[dict[str, str]], append: bool = False) -> None:
    if not rows:
        return
    with out.open("a" if append else "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if not append:
            writer.writeheader()
        writer.writerows(rows)
