"""The plan of an attribution: the cells and seeds to run, in stages; saved as explain.json."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from khasr.config import CONF_DIR, check_ranges, compose, from_plain, to_plain
from khasr.config.schemas import to_options
from khasr.run.folder import write_whole
from khasr.study.explain.attribution import MOST_WHOLE, antithetic_orders, cells_of_order
from khasr.study.explain.factors import WITHOUT_EFFECT, Comparison, Factor, Options, flatten, nest

_CHOICES = ("data", "model", "finetune", "optimizer", "schedule", "precision", "decoder")
_NOT_OF_CELLS = ("seed", "resume", "score_test", "sweep.", "logger.")

STAGES = ("A and B", "each factor changed first and last", "all cells")


@dataclass
class Plan:
    """The runs to make.

    Attributes:
        a, b: the recipes as given.
        base: A's options.
        seeds: one run of each cell for each of them.
        orders: the sampled orders of the factors of each seed; empty where all cells are run.
        words: overrides of every run.
        reported: the numbers of seeds with which a complete result has been reported.
    """

    a: str
    b: str
    base: Options
    factors: list[Factor]
    seeds: list[int]
    orders: list[list[tuple[int, ...]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reported: list[int] = field(default_factory=list)

    @property
    def comparison(self) -> Comparison:
        """The two recipes."""
        return Comparison(self.base, self.factors)

    @property
    def whole(self) -> int:
        """The number of all cells."""
        return int(2 ** len(self.factors))

    def cells(self, stage: int, seed_number: int = 0) -> list[int]:
        """The cells that a stage adds for a seed."""
        k, b = len(self.factors), self.whole - 1
        corners = [0, b]
        if stage == 0:
            return corners
        if self.orders:
            paths = {cell for order in self.orders[seed_number] for cell in cells_of_order(order)}
            return sorted(paths - {*corners}) if stage == 1 else []
        ends = {1 << i for i in range(k)} | {b ^ 1 << i for i in range(k)}
        ends -= {*corners}
        return sorted(ends) if stage == 1 else sorted({*range(self.whole)} - ends - {*corners})

    def jobs(self, stage: int) -> Iterator[tuple[int, int]]:
        """(cell, seed) of a stage, seed by seed."""
        for number, seed in enumerate(self.seeds):
            for cell in self.cells(stage, number):
                yield cell, seed

    @property
    def runs(self) -> int:
        """The number of runs of all stages."""
        return sum(1 for stage in range(len(STAGES)) for _ in self.jobs(stage))

    def write(self, folder: Path) -> None:
        """Writes explain.json."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "explain.json", json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")


def build_plan(
    comparison: Comparison, a: str, b: str, seeds: list[int], words: list[str], sampled: bool | None = None
) -> Plan:
    """The plan of a comparison.

    Args:
        sampled: whether orders of the factors are sampled; above MOST_WHOLE factors where None.
    """
    k = len(comparison.factors)
    plan = Plan(a, b, comparison.base, comparison.factors, seeds, words=words, notes=list(comparison.notes))
    if sampled or (sampled is None and k > MOST_WHOLE):
        plan.orders = [list(pair) for pair in antithetic_orders(k, len(seeds), seed=0)]
    return plan


def read_plan(folder: Path) -> Plan:
    """The plan in a folder.

    Raises:
        FileNotFoundError, ValueError: no explain.json, or one that is damaged.
    """
    path = folder / "explain.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no explain.json. Expected the folder that an earlier `python -m khasr.explain A B --out "
            "DIR` wrote, or two recipes A and B."
        )
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        factors = [Factor(f["name"], f["a"], f["b"], tuple(f["shown"])) for f in plain.pop("factors")]
        orders = [[tuple(order) for order in pair] for pair in plain.pop("orders")]
        return Plan(**plain, factors=factors, orders=orders)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}). Start again with A, B and a new --out.") from error


def extend_seeds(plan: Plan, count: int) -> None:
    """Adds seeds to a plan, up to that many.

    Raises:
        ValueError: fewer seeds than the plan has.
    """
    if count < len(plan.seeds):
        raise ValueError(
            f"--seeds {count}: the plan has {len(plan.seeds)} seeds, and leaving seeds out after their runs would be a "
            "choice of results. A new plan needs a new --out."
        )
    plan.seeds = [*plan.seeds, *range(max(plan.seeds) + 1, max(plan.seeds) + 1 + count - len(plan.seeds))]
    if plan.orders:
        plan.orders = [list(pair) for pair in antithetic_orders(len(plan.factors), len(plan.seeds), seed=0)]


def check_cells(plan: Plan) -> None:
    """Checks the types and ranges of every cell's options.

    Raises:
        ValueError, OmegaConfBaseException: a cell whose options contradict each other.
    """
    schema = type(compose())
    for cell in {cell for stage in range(len(STAGES)) for cell, _ in plan.jobs(stage)}:
        options = plan.comparison.cell(cell)
        try:
            check_ranges(to_options(from_plain(nest(options)), schema))
        except ValueError as error:
            raise ValueError(
                f"Cell {plan.comparison.cell_name(cell)} cannot be run: {error} Options that only work together are "
                "one factor: --group NAME=OPTION,OPTION."
            ) from error


def write_cells(plan: Plan, folder: Path) -> Path:
    """Writes each cell as a choice of the group `experiment`; returns the folder for hydra.searchpath."""
    place = folder / "cells"
    (place / "experiment").mkdir(parents=True, exist_ok=True)
    composed: dict[tuple[str, ...], Options] = {}
    for cell in {cell for stage in range(len(STAGES)) for cell, _ in plan.jobs(stage)}:
        options = plan.comparison.cell(cell)
        chosen = [(g, str(options.get(f"{g}.name"))) for g in _CHOICES]
        chosen = [(group, name) for group, name in chosen if (CONF_DIR / group / f"{name}.yaml").is_file()]
        words = tuple(f"{group}={name}" for group, name in chosen)
        if words not in composed:
            composed[words] = flatten(to_plain(compose(*words)))
        differing = {
            key: value
            for key, value in options.items()
            if composed[words].get(key, ...) != value and not key.startswith(_NOT_OF_CELLS)
        }
        defaults = [{f"override /{group}": name} for group, name in chosen]
        text = yaml.safe_dump(
            {"defaults": [*defaults, "_self_"]} | nest(differing), allow_unicode=True, sort_keys=False
        )
        name = plan.comparison.cell_name(cell)
        write_whole(place / "experiment" / f"{name}.yaml", f"# @package _global_\n{text}")
    return place


def check_words(words: Sequence[str]) -> None:
    """Checks the overrides of every run.

    Raises:
        ValueError: one that changes what is learned, which would be in neither recipe.
    """
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        if key == "seed" or not key.startswith(("hydra", "logger", *WITHOUT_EFFECT)):
            raise ValueError(
                f"--with {word}: this option affects learning, so it belongs to the recipes A and B (--fix {word} sets "
                "it in both). --with takes options of Hydra and loggers, and those without effect on learning."
            )
