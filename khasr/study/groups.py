"""Groups of runs: by the option whose values are compared as models, and by the utterances that they are scored on."""

import re
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from khasr.study.runs import UNKNOWN_MODEL, Runs
from khasr.study.wording import say

SCORED = (
    "data.name", "data.root", "data.split", "data.split_seed", "data.test_share", "data.val_share", "data.utterances",
    "data.corpus_seed", "data.voices", "data.sentences", "data.text.", "data.min_seconds", "data.max_seconds",
)  # fmt: skip
"""Options (or prefixes) that two runs must share for their scores to be of the same utterances and texts."""


def label_by(runs: Runs, option: str) -> Runs:
    """The runs with the values of an option as labels of their models, so that those are compared.

    Raises:
        ValueError: no run has the option, or runs of several models share one of its values.
    """
    table = runs.table.copy()
    if option not in runs.options:
        section = option.split(".")[0] + "."
        near = ", ".join(sorted(c for c in runs.options if c.startswith(section))[:12]) or ", ".join(runs.options[:12])
        raise ValueError(f"--by {option}: no run has that option. Options of these runs: {near}.")
    values = table[option].map(_text)
    named = table["model"] != UNKNOWN_MODEL
    models = {value: sorted(set(rows)) for value, rows in table["model"][named].groupby(values[named])}
    mixed = {value: found for value, found in models.items() if len(found) > 1}
    if mixed:
        value, found = next(iter(mixed.items()))
        raise ValueError(
            f"--by {option}: the runs with {option}={value} are of {len(found)} models ({', '.join(found)}), so their "
            "differences could be those of the models. Pass the runs of one model only."
        )
    if not option.startswith("model.") and len({m for found in models.values() for m in found}) > 1:
        listed = "; ".join(f"{value}: {found[0]}" for value, found in models.items())
        raise ValueError(
            f"--by {option}: its values were run with different models ({listed}), so their differences could be those "
            "of the models. Pass the runs of one model only."
        )
    table["model"] = _without_common_folder(values)
    return replace(runs, table=table, by=option)


def _without_common_folder(values: "pd.Series[str]") -> "pd.Series[str]":
    """Paths without the folders that they share."""
    paths = [v for v in values.unique() if "/" in v]
    if len(paths) < 2:
        return values
    steps = takewhile(lambda row: len(set(row)) == 1, zip(*(Path(v).parts for v in paths), strict=False))
    shared = Path(*(row[0] for row in steps))
    return values.map(lambda v: str(Path(v).relative_to(shared)) if v in paths else v)


def split_by_utterances(runs: Runs) -> dict[str, Runs]:
    """Groups of runs scored on the same utterances and texts, most runs first, each by a name for its folder.

    Unreadable runs, of which neither is known, are in the first group.
    """
    readable = runs.table["status"] != "unreadable"
    columns, keys = scored_on(runs.table)
    groups = list(keys[readable].value_counts(sort=True).index)
    if len(groups) < 2:
        return {"": runs}
    found: dict[str, Runs] = {}
    for place, key in enumerate(groups):
        kept = (keys == key) & readable | (~readable if place == 0 else False)
        first = runs.table[(keys == key) & readable].iloc[0]
        differing = [c for c in columns if runs.table.loc[readable, c].map(_text).nunique() > 1]
        if "data.name" in differing and runs.table.loc[readable, "data.name"].map(_text).nunique() == len(groups):
            differing = ["data.name"]
        words = [str(first[c]).rstrip("/").rsplit("/", 1)[-1] for c in differing if first[c] == first[c]]
        name = re.sub(r"[^\w.-]+", "_", "_".join(words))[:60].strip("._") or "unknown"
        found[name if name not in found else f"{name}_{place + 1}"] = runs.where(kept)
    return found


def scored_on(table: pd.DataFrame) -> tuple[list[str], "pd.Series[str]"]:
    """The options that decide on which utterances and texts runs are scored, and their values as one key per run."""
    columns = [c for c in table.columns if c.startswith(SCORED)]
    if not columns or table.empty:
        return columns, pd.Series("", table.index)
    return columns, table[columns].map(_text).agg("|".join, axis=1)


def _text(value: Any) -> str:
    """A value of an option as text: 1 and 1.0 are the same."""
    if value is None or value != value:
        return "unset"
    return say(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
