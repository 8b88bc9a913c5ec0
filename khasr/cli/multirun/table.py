"""The runs of a sweep as a table: the options that vary, scores, steps, hours and status, best first."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from khasr.run.folder import RunFolder
from khasr.run.outcome import Outcome

_MOST_ROWS = 40
_LONGEST_VALUE = 24


def describe_runs(folder: Path, outcomes: Mapping[str, Outcome], overrides: Mapping[str, Sequence[str]]) -> str:
    """The table of a sweep's runs, by the names of their folders, as text.

    Args:
        folder: contains the folders of the runs.
        outcomes: the outcome of each run.
        overrides: the overrides of each run.
    """
    options = {name: dict(_split(word) for word in overrides.get(name, ())) for name in outcomes}
    keys = dict.fromkeys(key for run in options.values() for key in run if _is_option(key))
    varied = [key for key in keys if len({run.get(key) for run in options.values()}) > 1]
    scores = {name: _scores(folder / name, outcome) for name, outcome in outcomes.items()}
    ordered = sorted(outcomes, key=lambda name: scores[name][0])
    table = Table(box=box.SIMPLE_HEAD)
    for column in _short(varied):
        table.add_column(column, no_wrap=True)
    for column in ("WER, %", "CER, %", "steps", "hours"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for name in ordered[:_MOST_ROWS]:
        wer, cer, steps, hours = scores[name]
        values = [_cut(options[name].get(key, "")) for key in varied]
        numbers = [_number(100 * wer, ".2f"), _number(100 * cer, ".2f"), _number(steps, ",.0f"), _number(hours, ".3g")]
        table.add_row(*values, *numbers, outcomes[name].status)
    text = io.StringIO()
    # Wide enough for every column: a narrower terminal wraps lines, which loses nothing.
    Console(file=text, width=1000, markup=False, highlight=False, emoji=False).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    if len(ordered) > _MOST_ROWS:
        lines.append(f"  The best {_MOST_ROWS} of {len(ordered):,} runs; the report has all.")
    return "\n".join(lines)


def _scores(folder: Path, outcome: Outcome) -> tuple[float, float, float, float]:
    """WER and CER on val (inf if there is none), steps and hours (nan if not known) of a run."""
    try:
        results: dict[str, Any] = RunFolder(folder).read_results()
    except (OSError, ValueError):
        results = {}
    scored = results.get("pruned" if outcome.status == "pruned" else "val") or {}
    if outcome.status not in ("completed", "pruned"):
        scored = {}  # of a run that is resumed: scores of its earlier weights
    train = results.get("train") or {}
    return (
        float(scored.get("wer", math.inf)),
        float(scored.get("cer", math.inf)),
        float(train.get("steps", math.nan)),
        float(train.get("seconds", math.nan)) / 3600,
    )


def _split(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key.lstrip("+"), value


def _is_option(key: str) -> bool:
    return not key.startswith(("sweep.", "logger", "hydra", "trainer.progress_bar"))


def _short(keys: Sequence[str]) -> list[str]:
    """Options without their section, where that is unambiguous."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]


def _cut(value: str) -> str:
    """A value; a number with five digits, other text cut if it is long."""
    if re.fullmatch(r"-?\d+\.\d{5,}(e-?\d+)?", value):
        return f"{float(value):.5g}"
    return value if len(value) <= _LONGEST_VALUE else f"{value[: _LONGEST_VALUE - 3]}..."


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else ""
