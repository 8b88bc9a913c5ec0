"""Recipes: the options of a run's folder or of quoted overrides, with the results and the unknowns of that run."""

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from khasr.config import compose, to_plain
from khasr.run.folder import RunFolder
from khasr.study.explain.factors import Options, flatten, is_run

# What the published card states of a run (khasr.run.published); its presets take the rest from khasr's defaults.
_CARD_STATES = "lr, warm-up, batch, epochs and seed"


@dataclass(frozen=True)
class Recipe:
    """All options of a training run.

    Attributes:
        text: the recipe as given.
        folder: of the run it is of; None for overrides.
        results: results.json of that run; empty without one.
        unknown: what is not known about the recipe, in sentences.
    """

    text: str
    options: Options
    folder: Path | None = None
    results: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def read_recipe(text: str) -> Recipe:
    """The recipe of a run's folder, or of overrides of khasr.train in one string.

    Raises:
        FileNotFoundError: a folder that is not a run's.
        ValueError: overrides that cannot be parsed; hydra.errors.HydraException: that name no option.
    """
    folder = Path(text).expanduser()
    # os.path.isdir: pathlib raises an OSError where the text of many overrides is too long for a file name.
    if text.strip() and (os.path.isdir(folder) or "=" not in text):  # noqa: PTH112
        run = RunFolder(folder)
        options = flatten(to_plain(run.read_config()))
        written = flatten(yaml.safe_load(run.config.read_text(encoding="utf-8")))
        results = json.loads(run.results.read_text(encoding="utf-8")) if run.results.is_file() else {}
        missing = sorted(key for key in options.keys() - written.keys() if not key.startswith("logger."))
        unknown = []
        if missing:
            unknown.append(
                f"{text}/config.yaml does not have {', '.join(missing)} (written by an earlier version): khasr's "
                "defaults are assumed."
            )
        return Recipe(text, options, folder, results, unknown)
    words = shlex.split(text)
    options = flatten(to_plain(compose(*words)))
    card = next((word for word in words if word.startswith("experiment=card_")), None)
    unknown = []
    if card:
        unknown.append(
            f"{card} is a published run, whose card states {_CARD_STATES} only: every other option, such as masks, "
            "dropouts and checkpoint selection, is khasr's default in both recipes. A difference there is not seen."
        )
    return Recipe(text, options, None, {}, unknown)


def check_leaks(a: Recipe, b: Recipe) -> None:
    """Checks that no recipe has learned from the val part on which both are to be scored.

    Raises:
        ValueError: utterances of val are in the training part of the other run, or of the run it starts from.
    """
    splits = {name: _split(recipe.folder) for name, recipe in (("A", a), ("B", b))}
    for ours, theirs in (("A", "B"), ("B", "A")):
        shared = splits[ours].get("val", set()) & splits[theirs].get("train", set())
        if shared:
            raise ValueError(
                f"{len(shared)} utterances of {ours}'s val part, such as {min(shared)}, are in {theirs}'s training "
                "part: the runs were split differently. Expected one split; --fix data.split=PATH takes one run's "
                "split.tsv for both."
            )
    for name, recipe in (("A", a), ("B", b)):
        checkpoint = recipe.options.get("model.checkpoint")
        if not is_run(checkpoint):
            continue
        learned = _split(Path(str(checkpoint)).expanduser()).get("train", set())
        shared = set.union(*(split.get("val", set()) for split in splits.values())) & learned
        if shared:
            raise ValueError(
                f"{name} starts from {checkpoint}, which was trained on {len(shared)} utterances of the val part, such "
                f"as {min(shared)}. Use the split of that run: --fix data.split={checkpoint}/split.tsv."
            )


def _split(folder: Path | None) -> dict[str, set[str]]:
    """The ids of each part by a run's split.tsv; empty without one."""
    parts: dict[str, set[str]] = {}
    if folder is None or not RunFolder(folder).split.is_file():
        return parts
    for line in RunFolder(folder).split.read_text(encoding="utf-8").splitlines():
        columns = line.split("\t")
        part = next((c for c in columns if c in ("train", "val", "test")), None)
        if part:
            parts.setdefault(part, set()).add(next(c for c in columns if c != part))
    return parts


def version_notes(a: Recipe, b: Recipe, here: str) -> list[str]:
    """Notes on code versions: the given runs are not used, so they matter only for what the recipes were."""
    versions = {
        name: recipe.results.get("commit") or (recipe.results.get("versions") or {}).get("khasr")
        for name, recipe in (("A", a), ("B", b))
    }
    known = {name: str(version) for name, version in versions.items() if version}
    if len(set(known.values())) > 1:
        return [
            f"A and B were made by different versions of khasr ({known['A'][:12]} and {known['B'][:12]}): part of the "
            f"gap between those two runs may be the code. Both recipes are run again with khasr {here}."
        ]
    return []


def selection_notes(a: Recipe, b: Recipe) -> list[str]:
    """A note where runs were given: they were selected, so they are not part of the data."""
    given = [recipe.text for recipe in (a, b) if recipe.folder is not None]
    if not given:
        return []
    return [
        f"{' and '.join(given)}: given runs may have been selected for their WER, so both recipes are run again with "
        "new seeds; the given runs' error rates are not used."
    ]


def new_seeds(a: Recipe, b: Recipe, count: int) -> list[int]:
    """Seeds that neither recipe has."""
    taken = {recipe.options.get(key) for recipe in (a, b) for key in ("seed", "data.order_seed")}
    return [seed for seed in range(1001, 1001 + count + len(taken)) if seed not in taken][:count]
