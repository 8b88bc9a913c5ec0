"""A study's runs as one tidy table: from run folders, wandb's offline folders and its exported tables."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from khasr.data.audio import FRAMES_PER_SECOND
from khasr.run.folder import RunFolder, read_metrics
from khasr.scoring.error_rates import word_edits
from khasr.scoring.hypotheses import read_hypotheses
from khasr.study.wandb_files import WandbRun, flatten, read_export, read_offline

STATUSES = ("completed", "interrupted", "diverged", "failed", "unreadable")


# The table's columns beside the options (which have a dot in their names, or are `seed`).
COLUMNS = (
    "run", "source", "folder", "status", "error", "model", "parameters", "wer", "cer", "best_step", "test_wer",
    "test_cer", "steps", "audio_seconds", "train_seconds", "lr_area", "flops",
)  # fmt: skip


_MODEL = "model.name"


_SHAPE = "model.architecture."


@dataclass
class Runs:
    """What was found.

    Attributes:
        table: a row a run. `wer` and `cer` are val's, fractions, of the run's best checkpoint with its own decoder;
            where a run did not get so far, the lowest on its way. `lr_area` is the sum of the lr over optimizer steps.
            `flops` are 6 x parameters x frames seen in training (Kaplan 2020, sec. 2.1), an estimate.
        curves: run, step, metric, value.
        hypotheses: run, part, id, reference, hypothesis, edits, words, seconds; of run folders alone.
        configs: each run folder's options as they lie in config.yaml.
        notes: what could not be read, and why.
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    hypotheses: pd.DataFrame
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def options(self) -> list[str]:
        """The columns that are options."""
        return [c for c in self.table.columns if c not in COLUMNS]

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
    """The table with an apostrophe before texts, other than numbers, that a spreadsheet would run as formulas."""
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
    """Every run below the places: run folders as training leaves them, wandb's offline folders, exported CSV tables.

    Nothing is left out in silence: a run that failed, diverged or was cut short is a row with that status, a folder
    that cannot be read is a row `unreadable` with the reason, and a note.

    Raises:
        FileNotFoundError: a place that does not exist, or no run below any of them.
        ValueError: a file that is not an exported table.
    """
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    hypotheses: list[dict[str, Any]] = []
    configs: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    names: Counter[str] = Counter()
    for place in places:
        if not place.exists():
            raise FileNotFoundError(
                f"{place} does not exist. Expected the folder of a run, of runs, or an exported CSV."
            )
    seen = {path.read_text().strip() for place in places for path in place.rglob("wandb/id")}
    for place in places:
        for found in _find(place, seen):
            name = _unique(names, found.name)
            row = {"run": name, "source": found.source, "folder": str(found.path)}
            try:
                read = _READERS[found.source](found)
            except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
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
            f"No run in {', '.join(map(str, places))}. Expected folders with a results.json, as `python -m "
            "khasr.train` leaves them, wandb's offline-run-* folders, or a CSV exported from wandb."
        )
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*COLUMNS, *sorted(c for c in table.columns if c not in COLUMNS)])
    numbers = ("wer", "cer", "test_wer", "test_cer", "best_step", "steps", "audio_seconds", "train_seconds", "lr_area")
    for column in (*numbers, "parameters"):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
    table["model"] = _labels(table)
    table["flops"] = 6 * table["parameters"] * table["audio_seconds"] * FRAMES_PER_SECOND
    return Runs(
        table,
        pd.DataFrame(curves, columns=["run", "step", "metric", "value"]),
        pd.DataFrame(hypotheses, columns=["run", "part", "id", "reference", "hypothesis", "edits", "words", "seconds"]),
        configs,
        notes,
    )


# ------------------------------------------------------------------------------------------------------- what is where


@dataclass
class _Found:
    """A run that has been found, not yet read: its offline folders, or its row of a table, where it has such."""

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
    """The runs below a place, in the order of their names; offline folders of runs that are seen are not run twice."""
    if place.is_file():
        for run in read_export(place):
            yield _Found("wandb_csv", run.name, place, exported=run)
        return
    resumed: dict[str, _Found] = {}
    folders = [place, *sorted(p for p in place.rglob("*") if p.is_dir() and not p.is_symlink())]
    run_folders = [f for f in folders if RunFolder(f).results.is_file() or RunFolder(f).is_run]
    # A wandb folder has its own config.yaml, in files/.
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
        config = yaml.safe_load(folder.config.read_text(encoding="utf-8")) or {}
        if not isinstance(config, dict):
            raise ValueError(f"config.yaml holds a {type(config).__name__}, not options.")
    results: dict[str, Any] = {"status": "failed", "error": "it left no results.json"}
    if folder.results.is_file():
        results = json.loads(folder.results.read_text(encoding="utf-8"))
        if not isinstance(results, dict):
            raise ValueError(f"results.json holds a {type(results).__name__}, not results.")
    status = str(results.get("status"))
    if status not in STATUSES:
        notes.append(f"status {status!r} is not one of {', '.join(STATUSES)}; taken as failed")
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
    hypotheses: list[dict[str, Any]] = []
    if folder.hypotheses.is_file():
        hypotheses, cut = _hypotheses(folder.hypotheses)
        if cut:
            notes.append(f"hypotheses.tsv: {cut} lines have not the columns of the first; left out")
    return _Read(row, _points(rows), hypotheses, config, notes)


def _read_wandb(found: _Found) -> _Read:
    run = found.exported or read_offline(found.offline)
    return _Read(_row(run.options, run.rows) | {"status": run.status}, _points(run.rows))


_READERS = {"folder": _read_folder, "wandb_offline": _read_wandb, "wandb_csv": _read_wandb}


def _row(options: dict[str, Any], rows: list[dict[str, float]]) -> dict[str, Any]:
    """Options, and what the metrics tell where there is no results.json."""
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
    """The area under the lr at each step that has one: the sum over optimizer steps, by the trapezoid rule."""
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
    """A name for each model: the choice's, with its size where one choice came in several; fills in `parameters`."""
    names = table[_MODEL].astype(object) if _MODEL in table else pd.Series([None] * len(table), table.index, object)
    shape_columns = [c for c in table.columns if c.startswith(_SHAPE)]
    shapes = table[shape_columns].map(str).agg("|".join, axis=1) if shape_columns else names.map(str)
    # A run that stopped before its model was built has no count: it is taken from similar runs, or from the shape.
    for rows in table.groupby([names.map(str), shapes]).groups.values():
        known = table.loc[rows, "parameters"].median()
        table.loc[rows, "parameters"] = table.loc[rows, "parameters"].fillna(
            known if known == known else _transformer_parameters(table.loc[rows[0]])
        )
    labels = names.copy()
    for name in names.dropna().unique():
        of_name = names == name
        sizes = table.loc[of_name, "parameters"].map(lambda n: _size(n) if n > 0 else "?")
        if sizes.nunique() > 1:
            labels[of_name] = name + " " + sizes
    return labels.fillna("?")


def _transformer_parameters(row: "pd.Series[Any]") -> float:
    """About how many parameters a model of that shape has: attention and feed-forward of each layer."""
    layers, width, inner = (row.get(f"{_SHAPE}{k}", math.nan) for k in ("layers", "hidden_size", "intermediate_size"))
    return float(layers * (4 * width**2 + 2 * width * inner))


def _size(parameters: float) -> str:
    """A count of parameters in two digits: a vocabulary more or less does not make another model."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            return f"{float(f'{parameters / unit:.2g}'):g}{name}"
    return f"{parameters:.0f}"


def _one_type(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each column of one type, as Parquet wants it: text where types are mixed."""
    fixed = table.copy()
    for column in [c for c in fixed.columns if pd.api.types.is_object_dtype(fixed[c])]:
        kinds = {type(v) for v in fixed[column] if v is not None and v == v}
        if len(kinds) > 1 and not kinds <= {int, float}:
            fixed[column] = fixed[column].map(lambda v: None if v is None or v != v else str(v))
        elif kinds and kinds <= {int, float}:
            fixed[column] = fixed[column].astype(float)
    return fixed
