"""Files of wandb: offline folders, and the CSV table that a project's page exports."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32 * 1024


_FILE_HEADER = 7  # ":W&B", a magic number, a version


_RECORD_HEADER = 7  # checksum (4), length (2), kind (1)


_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


# khasr's status for each state of wandb.
_STATUS = {"finished": "completed", "failed": "failed", "crashed": "interrupted", "killed": "interrupted"}


# Columns of an exported table that are neither options nor metrics.
_ABOUT = {
    "Name",
    "State",
    "Notes",
    "User",
    "Tags",
    "Created",
    "Runtime",
    "Sweep",
    "ID",
    "Group",
    "Job Type",
    "Hostname",
}


@dataclass
class WandbRun:
    """A run as recorded by wandb.

    Attributes:
        options: by dotted name.
        rows: metrics, one row per step, with `step`.
    """

    name: str
    status: str
    options: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)


def read_offline(folders: list[Path]) -> WandbRun:
    """A run from its offline folders, of which a resumed run has several.

    Of a file truncated by a crash, the records before the end are read. A run without an exit record is interrupted.

    Raises:
        ValueError: a folder has no .wandb file, or the file is not one.
    """
    run = WandbRun(name=folders[-1].name.rsplit("-", 1)[-1], status="interrupted")
    by_step: dict[int, dict[str, float]] = {}
    for folder in sorted(folders):
        files = sorted(folder.glob("run-*.wandb"))
        if not files:
            raise ValueError(f"{folder}: no file run-*.wandb. Expected an offline folder of wandb.")
        run.status = "interrupted"
        for record in read_records(files[0]):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run.name = record.run.display_name or record.run.run_id or run.name
                run.options |= _items(record.run.config.update)
            elif kind == "config":
                run.options |= _items(record.config.update)
            elif kind == "history":
                row = _items(record.history.item)
                step = int(row.get("trainer/global_step", row.get("_step", record.history.step.num)))
                numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float) and not k.startswith("_")}
                numbers.pop("trainer/global_step", None)
                by_step[step] = by_step.get(step, {}) | numbers
            elif kind == "exit":
                run.status = "completed" if record.exit.exit_code == 0 else "failed"
    run.rows = [{"step": float(step)} | row for step, row in sorted(by_step.items())]
    return run


def read_export(path: Path) -> list[WandbRun]:
    """The runs of a table exported from a project's page: one row per run, with the last value of each metric.

    Raises:
        ValueError: the file is not such a table.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"Name", "State"} <= set(rows[0]):
        raise ValueError(
            f"{path}: not a table exported from wandb. Expected the columns Name and State, options (optimizer.lr) and "
            "metrics (val/wer). Export it on the project's page: Runs, Export, CSV."
        )
    runs = []
    for row in rows:
        values = {
            key: _value(text) for key, text in row.items() if key and key not in _ABOUT and text not in ("", None)
        }
        metrics = {k: float(v) for k, v in values.items() if "/" in k and isinstance(v, int | float)}
        step = metrics.pop("trainer/global_step", 0.0)
        options = {k: v for k, v in values.items() if "/" not in k and not k.startswith("_")}
        status = _STATUS.get(str(row["State"]).lower(), "interrupted")
        runs.append(WandbRun(str(row["Name"]), status, options, [{"step": step} | metrics] if metrics else []))
    return runs


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by dotted name; lists as JSON text."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value) if isinstance(value, list | dict) else value
    return flat


def _items(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        name = ".".join(item.nested_key) if item.nested_key else item.key
        if not name.startswith("_wandb"):
            value = json.loads(item.value_json)
            found |= flatten(value, f"{name}.") if isinstance(value, dict) and value else flatten({name: value})
    return found


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {"NaN": float("nan"), "None": None}.get(text, text)
    return json.dumps(value) if isinstance(value, list | dict) else value


def read_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, a log in blocks with the format of LevelDB's (its log_format.md)."""
    # wandb's Python package has no reader since its core is a binary.
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    data = path.read_bytes()
    if data[:4] != b":W&B":
        raise ValueError(f"{path}: not a file of wandb: it begins with {data[:4]!r}. Expected b':W&B'.")
    at, whole = _FILE_HEADER, b""
    while at + _RECORD_HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD_HEADER:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        piece = data[at + _RECORD_HEADER : at + _RECORD_HEADER + length]
        at += _RECORD_HEADER + length
        if len(piece) < length or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            return  # truncated
        whole = piece if kind in (_FULL, _FIRST) else whole + piece
        if kind in (_FULL, _LAST):
            record = Record()
            try:
                record.ParseFromString(whole)
            except DecodeError:
                return
            yield record
