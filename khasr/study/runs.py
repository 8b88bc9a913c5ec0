"""The runs of a study as one table, read from run folders, wandb's offline folders and exported CSV tables."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from khasr.config import read_plain_yaml
from khasr.data.audio import FRAMES_PER_SECOND
from khasr.run.folder import RunFolder, read_metrics
from khasr.scoring.error_rates import word_edits
from khasr.scoring.hypotheses import read_hypotheses
from khasr.study.wandb_files import WandbRun, flatten, read_export, read_offline
from khasr.text.counting import counted

STATUSES = ("completed", "pruned", "interrupted", "diverged", "failed", "unreadable")


# The columns of the table that are not options (an option has a dot in its name, or is `seed`).
COLUMNS = (
    "run", "source", "folder", "status", "error", "model", "parameters", "wer", "cer", "best_step", "test_wer",
    "test_cer", "steps", "audio_seconds", "train_seconds", "train_hours", "lr_area", "flops", "val_utterances",
)  # fmt: skip


HYPOTHESES = ["run", "part", "id", "speaker", "reference", "hypothesis", "edits", "words", "seconds"]


_MODEL = "model.name"


_SHAPE = "model.architecture."


UNKNOWN_MODEL = "?"
"""The label of runs whose options do not name a model."""


@dataclass
class Runs:
    """The runs that were found.

    Attributes:
        table: one row per run. `wer` and `cer` are fractions on val, of the best checkpoint with the run's own decoder
            or, if the run ended before it was scored, the lowest of its validations. `lr_area` is the sum of the lr
            over optimizer steps. `flops` is 6 x parameters x frames seen in training (Kaplan 2020, sec. 2.1), an
            estimate.
        curves: run, step, metric, value.
        hypotheses: run, part, id, speaker, reference, hypothesis, edits, words, seconds; from run folders only.
        configs: the options of each run folder as in its config.yaml.
        notes: files that could not be read, with the reason.
        by: the option whose values are compared as models.
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    hypotheses: pd.DataFrame
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    by: str = _MODEL

    @property
    def options(self) -> list[str]:
        """The columns that are options."""
        return [c for c in self.table.columns if c not in COLUMNS]

    def where(self, kept: "pd.Series[bool]") -> "Runs":
        """The runs of those rows of the table."""
        table = self.table[kept].reset_index(drop=True)
        names = set(table["run"])
        curves, hypotheses = (rows[rows["run"].isin(names)] for rows in (self.curves, self.hypotheses))
        return replace(self, table=table, curves=curves, hypotheses=hypotheses)

    def write(self, folder: Path) -> list[Path]:
        """Writes runs.parquet, runs.csv, curves.parquet and curves.csv."""
        written = []
        for name, table in (("runs", self.table), ("curves", self.curves)):
            for suffix in ("parquet", "csv"):
                path = folder / f"{name}.{suffix}"
                partial = path.with_name(f".{path.name}.partial")
                if suffix == "csv":
                    without_formulas(table).to_csv(partial, index=False)
                else:
                    _one_type(table).to_parquet(partial, index=False)
                partial.replace(path)
                written.append(path)
        return written


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before each text that a spreadsheet would evaluate as a formula."""
    return table.map(_without_formula).rename(columns=_without_formula)


def _without_formula(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def read_runs(places: list[Path]) -> Runs:
    """Every run below the places: folders written by khasr.train, wandb's offline folders, exported CSV tables.

    A run that failed, diverged, was pruned or interrupted is a row with that status. A folder that cannot be read is a
    row with status `unreadable` and the reason, and is listed in the notes.

    Raises:
        FileNotFoundError: there is no run below any of the places.
        ValueError: a file is not an exported table.
    """
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    hypotheses: list[dict[str, Any]] = []
    configs: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    names: Counter[str] = Counter()
    seen = {path.read_text().strip() for place in places for path in place.rglob("wandb/id")}
    for place in places:
        for found in _find(place, seen):
            name = _unique(names, found.name)
            row = {"run": name, "source": found.source, "folder": str(found.path)}
            try:
                read = _READERS[found.source](found)
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                notes.append(f"{found.path}: {error}")
                rows.append(row | {"status": "unreadable", "error": f"{type(error).__name__}: {error}"})
                continue
            rows.append(row | read.row)
            curves += [{"run": name} | point for point in read.points]
            hypotheses += [{"run": name} | line for line in read.hypotheses]
            notes += [f"{found.path}: {note}" for note in read.notes]
            if read.config:
                configs[name] = read.config
    if not rows:
        raise FileNotFoundError(
            f"No run in {', '.join(map(str, places))}. Expected folders with a results.json, as written by `python -m "
            "khasr.train`, wandb's offline-run-* folders, or a CSV exported from wandb."
        )
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*COLUMNS, *sorted(c for c in table.columns if c not in COLUMNS)])
    numbers = (
        "wer", "cer", "test_wer", "test_cer", "best_step", "steps", "audio_seconds", "train_seconds", "train_hours",
        "lr_area", "val_utterances",
    )  # fmt: skip
    for column in (*numbers, "parameters"):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
    table["model"] = _labels(table)
    table["flops"] = 6 * table["parameters"] * table["audio_seconds"] * FRAMES_PER_SECOND
    return Runs(
        table,
        pd.DataFrame(curves, columns=["run", "step", "metric", "value"]),
        pd.DataFrame(hypotheses, columns=HYPOTHESES),
        configs,
        notes,
    )


# ------------------------------------------------------------------------------------------------------ search of files


@dataclass
class _Found:
    """A run that was found but not yet read: its folder, wandb's offline folders, or its row of an exported table."""

    source: str
    name: str
    path: Path
    offline: list[Path] = field(default_factory=list)
    exported: WandbRun | None = None


@dataclass
class _Read:
    row: dict[str, Any]
    points: list[dict[str, Any]] = field(default_factory=list)
    hypotheses: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _find(place: Path, seen: set[str]) -> Iterator[_Found]:
    """The runs below a place, ordered by name; offline folders of runs that have a run folder are skipped."""
    if place.is_file():
        for run in read_export(place):
            yield _Found("wandb_csv", run.name, place, exported=run)
        return
    resumed: dict[str, _Found] = {}
    folders = [place, *sorted(p for p in place.rglob("*") if p.is_dir() and not p.is_symlink())]
    run_folders = [f for f in folders if RunFolder(f).results.is_file() or RunFolder(f).is_run]
    # A wandb folder has its own config.yaml in files/.
    run_folders = [f for f in run_folders if "wandb" not in f.relative_to(place).parts and f.name != "files"]
    for folder in run_folders:
        yield _Found("folder", folder.name if folder == place else str(folder.relative_to(place)), folder)
    for folder in folders:
        if not folder.name.startswith("offline-run-"):
            continue
        key = folder.name.rsplit("-", 1)[-1]
        if key in seen or any(run_folder in folder.parents for run_folder in run_folders):
            continue  # the same run, whose own folder contains more
        if key in resumed:
            resumed[key].offline.append(folder)
        else:
            resumed[key] = _Found("wandb_offline", key, folder, offline=[folder])
    yield from resumed.values()


def _unique(names: Counter[str], name: str) -> str:
    names[name] += 1
    return name if names[name] == 1 else f"{name} ({names[name]})"


# -------------------------------------------------------------------------------------------------------------- reading


def _read_folder(found: _Found) -> _Read:
    folder = RunFolder(found.path)
    config: dict[str, Any] = {}
    notes: list[str] = []
    if folder.is_run:
        try:
            config = read_plain_yaml(folder.config)
        except ValueError as error:
            raise ValueError(f"config.yaml: {error}") from None
    results: dict[str, Any] = {"status": "failed", "error": "no results.json"}
    if folder.results.is_file():
        results = json.loads(folder.results.read_text(encoding="utf-8"))
        if not isinstance(results, dict):
            raise ValueError(f"results.json contains a {type(results).__name__}. Expected results by name.")
    status = str(results.get("status"))
    if status not in STATUSES:
        notes.append(f"status {status!r} is not one of {', '.join(STATUSES)}; counted as failed")
        status = "failed"
    rows = _metric_rows(folder.metrics)
    options = flatten(config)
    options.setdefault("seed", results.get("seed"))
    options.setdefault(_MODEL, results.get("model"))
    val, test, train = (results.get(part) or {} for part in ("val", "test", "train"))
    row = _row(options, rows) | {"status": status, "error": results.get("error")}
    row |= {key: val[key] for key in ("wer", "cer") if val.get(key) is not None}
    row |= {f"test_{key}": test.get(key) for key in ("wer", "cer")}
    row |= {key: train[key] for key in ("steps", "parameters", "audio_seconds") if train.get(key) is not None}
    row["train_seconds"] = train.get("seconds")
    row["train_hours"] = train.get("hours")
    row["val_utterances"] = val.get("utterances")
    hypotheses: list[dict[str, Any]] = []
    if folder.hypotheses.is_file():
        hypotheses, cut = _hypotheses(folder.hypotheses)
        if cut:
            notes.append(f"hypotheses.tsv: {counted(cut, 'line')} without the columns of the header; left out")
    return _Read(row, _points(rows), hypotheses, config, notes)


def _read_wandb(found: _Found) -> _Read:
    run = found.exported or read_offline(found.offline)
    return _Read(_row(run.options, run.rows) | {"status": run.status}, _points(run.rows))


_READERS = {"folder": _read_folder, "wandb_offline": _read_wandb, "wandb_csv": _read_wandb}


def _row(options: dict[str, Any], rows: list[dict[str, float]]) -> dict[str, Any]:
    """The options, and the columns that follow from the metrics; results.json, where there is one, overrides them."""
    row: dict[str, Any] = {key: value for key, value in options.items() if key not in COLUMNS}
    scored = [r for r in rows if math.isfinite(r.get("val/wer", math.nan))]
    if scored:
        best = min(scored, key=lambda r: r["val/wer"])
        row |= {"wer": best["val/wer"], "cer": best.get("val/cer"), "best_step": best["step"]}
    if rows:
        row["steps"] = rows[-1]["step"]
        row["audio_seconds"] = next((r["train/audio_seconds"] for r in rows[::-1] if "train/audio_seconds" in r), None)
        areas = lr_areas(rows)
        row["lr_area"] = areas[-1][1] if areas else None
    return row


def lr_areas(rows: list[dict[str, float]]) -> list[tuple[float, float]]:
    """The sum of the lr over optimizer steps up to each logged step (trapezoid rule)."""
    points = [(r["step"], r["train/lr"]) for r in rows if "train/lr" in r]
    areas, area, before = [], 0.0, (0.0, 0.0)
    for step, lr in points:
        area += (step - before[0]) * (lr + before[1]) / 2
        areas.append((step, area))
        before = (step, lr)
    return areas


def _points(rows: list[dict[str, float]]) -> list[dict[str, Any]]:
    points = [
        {"step": row["step"], "metric": key, "value": value}
        for row in rows
        for key, value in row.items()
        if key not in ("step", "epoch")
    ]
    return points + [{"step": step, "metric": "lr_area", "value": area} for step, area in lr_areas(rows)]


def _metric_rows(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    return [{key: float(value) for key, value in row.items()} for row in read_metrics(path)]


def _hypotheses(path: Path) -> tuple[list[dict[str, Any]], int]:
    parts, skipped = read_hypotheses(path)
    rows = []
    for part, hypotheses in parts.items():
        for h in hypotheses:
            edits = word_edits(h.reference, h.hypothesis)
            rows.append(
                {
                    "part": part or "val",
                    "id": h.id,
                    "speaker": h.speaker,
                    "reference": h.reference,
                    "hypothesis": h.hypothesis,
                    "edits": edits.total,
                    "words": edits.units,
                    "seconds": h.seconds,
                }
            )
    return rows, skipped


# -------------------------------------------------------------------------------------------------------------- columns


def _labels(table: pd.DataFrame) -> pd.Series:
    """The label of each run's model: its name, with the size if one name has several; fills in `parameters`."""
    names = table[_MODEL].astype(object) if _MODEL in table else pd.Series([None] * len(table), table.index, object)
    shape_columns = [c for c in table.columns if c.startswith(_SHAPE)]
    shapes = table[shape_columns].map(str).agg("|".join, axis=1) if shape_columns else names.map(str)
    # A run that stopped before its model was built has no count of parameters: taken from runs of the same shape.
    for rows in table.groupby([names.map(str), shapes]).groups.values():
        known = table.loc[rows, "parameters"].median()
        table.loc[rows, "parameters"] = table.loc[rows, "parameters"].fillna(
            known if known == known else _transformer_parameters(table.loc[rows[0]])
        )
    labels = names.copy()
    for name in names.dropna().unique():
        of_name = names == name
        sizes = table.loc[of_name, "parameters"].map(lambda n: _size(n) if n > 0 else None)
        if sizes.nunique() > 1:
            labels[of_name] = name + " " + sizes.fillna("?")
    return labels.fillna(UNKNOWN_MODEL)


def _transformer_parameters(row: "pd.Series[Any]") -> float:
    """The approximate number of parameters of a model of that shape: attention and feed-forward of each layer."""
    layers, width, inner = (row.get(f"{_SHAPE}{k}", math.nan) for k in ("layers", "hidden_size", "intermediate_size"))
    return float(layers * (4 * width**2 + 2 * width * inner))


def _size(parameters: float) -> str:
    """A number of parameters in two digits, so that a slightly different vocabulary is not a different model."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            return f"{float(f'{parameters / unit:.2g}'):g}{name}"
    return f"{parameters:.0f}"


def _one_type(table: pd.DataFrame) -> pd.DataFrame:
    """The table with one type per column, as Parquet requires: text if types are mixed."""
    fixed = table.copy()
    for column in [c for c in fixed.columns if pd.api.types.is_object_dtype(fixed[c])]:
        kinds = {type(v) for v in fixed[column] if v is not None and v == v}
        if len(kinds) > 1 and not kinds <= {int, float}:
            fixed[column] = fixed[column].map(lambda v: None if v is None or v != v else str(v))
        elif kinds and kinds <= {int, float}:
            fixed[column] = fixed[column].astype(float)
    return fixed
