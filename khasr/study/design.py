"""The design of a study: its models, the settings that vary, the reference settings, and the runs that count."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from khasr import config as options
from khasr.study.groups import SCORED, scored_on
from khasr.study.runs import UNKNOWN_MODEL, Runs
from khasr.study.wandb_files import flatten
from khasr.study.wording import say

LEARNED_BELOW = 0.95
"""A run has learned if it ended by itself with a WER on val below this; all blank is 1.0."""


UNFINISHED = ("interrupted", "failed")
"""Statuses from which it is not known whether a run's settings work."""


# Options that do not change what is learned, or that are seeds, or that are the model's own shape.
_NO_SETTING = (
    "seed", "resume", "score_test", "logger.", "sweep.", "model.name", "model.architecture.", "data.cache_dir",
    "data.root", "data.num_workers", "data.order_seed", "data.subset_seed", "data.eval_batch_size",
    "trainer.progress_bar", "trainer.accelerator", "trainer.log_every_steps", "trainer.val_every_steps",
    "trainer.deterministic", "trainer.keep_last", "trainer.save_every_minutes", "model.gradient_checkpointing",
    "model.compile", "model.feature_cache_gib",
)  # fmt: skip


# Options that are the model itself: they differ between models of different size and are not counted as confounded.
_OF_THE_MODEL = ("model.checkpoint", "model.init", "model.language")


@dataclass(frozen=True)
class Setting:
    """One option that varies, or several that always change together.

    Attributes:
        columns: of the table of runs.
        values: the values tried, in order; each a tuple with an element for each column.
        numeric: one column of more than two positive numbers.
    """

    columns: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]
    numeric: bool

    @property
    def name(self) -> str:
        """Its name in tables."""
        return " & ".join(self.columns)

    def of(self, rows: pd.DataFrame) -> list[tuple[Any, ...]]:
        """Its value in each row."""
        return [tuple(map(_plain, values)) for values in zip(*(rows[c] for c in self.columns), strict=True)]


@dataclass
class Design:
    """The comparison, or the runs of one model: `large` is then `small`.

    Attributes:
        table: the runs that are compared, with `cell` (the settings in words), `learned` and `score`: the WER on val,
            1.0 where nothing was learned.
        reference: the value of each setting from which effects are measured.
        reference_from: the source of the reference, as text.
        fixed: options that differ between the models and never within one; their effect is not separable from size.
        left_out: the number of runs in no comparison, with the reason; a phrase each.
        disjoint: settings of which the models share no value, with the values of each; also confounded with the model.
    """

    runs: Runs
    small: str
    large: str
    table: pd.DataFrame
    settings: list[Setting]
    reference: dict[str, tuple[Any, ...]]
    reference_from: str
    fixed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    disjoint: list[str] = field(default_factory=list)

    @property
    def confounded(self) -> list[str]:
        """The options that cannot be separated from the model: any gap may be theirs."""
        return [*self.fixed, *self.disjoint]

    @property
    def models(self) -> tuple[str, ...]:
        """The smaller and the larger model, or the only one."""
        return (self.small,) if self.small == self.large else (self.small, self.large)

    def of(self, model: str) -> pd.DataFrame:
        """A model's runs."""
        return self.table[self.table["model"] == model]

    @property
    def reference_cell(self) -> str:
        """The cell of the reference."""
        return self.cell(self.reference)

    def cell(self, values: dict[str, tuple[Any, ...]]) -> str:
        """The name of a combination of settings: its differences from the reference."""
        parts = [
            f"{_short(column)}={say(value)}"
            for setting in self.settings
            if values[setting.name] != self.reference[setting.name]
            for column, value, before in zip(
                setting.columns, values[setting.name], self.reference[setting.name], strict=True
            )
            if value != before
        ]
        return ", ".join(parts) or "reference"


def build_design(
    runs: Runs, small: str | None = None, large: str | None = None, reference: dict[str, Any] | None = None
) -> Design:
    """The comparison of two models, by default the smallest and the largest; of one model, its runs.

    The reference is what is given, else the defaults of khasr (the card's recipe) where both models tried them, else
    each setting's most common value.

    Raises:
        ValueError: a model or a setting that no run has, or it is not known which of two models is the larger.
    """
    table = runs.table[runs.table["status"] != "unreadable"].copy()
    left_out = []
    if unreadable := len(runs.table) - len(table):
        left_out.append(f"{unreadable} unreadable")
    unnamed = table["model"] == UNKNOWN_MODEL
    if 0 < unnamed.sum() < len(table):
        left_out.append(f"{unnamed.sum()} without the name of a model")
        table = table[~unnamed]
    table, other = _same_utterances(table)
    if other:
        left_out.append(f"{other} scored on other utterances or texts than the rest ({', '.join(SCORED[:5])} ...)")
    small, large = _pick(table, small, large)
    third = int((~table["model"].isin([small, large])).sum())
    if third:
        left_out.append(f"{third} of other models than {small} and {large}")
    table = table[table["model"].isin([small, large])].copy()
    left_out += _mark_outcomes(table)
    settings, fixed = _settings(runs, table)
    given = reference or {}
    known = {column for setting in settings for column in setting.columns}
    for key in given:
        if key not in known:
            raise ValueError(
                f"--reference {key}: no setting of that name varies here. Those that do: {', '.join(sorted(known))}."
            )
    starts, origin = _reference(settings, table, given)
    design = Design(runs, small, large, table, settings, starts, origin, fixed, left_out)
    for setting in settings:
        tried = [setting.of(design.of(m)[~design.of(m)["status"].isin(UNFINISHED)]) for m in design.models]
        if len(tried) > 1 and all(tried) and not any(in_common(setting, *tried)[0]):
            design.disjoint.append(setting.name)
    columns = {s.name: s.of(table) for s in settings}
    design.table["cell"] = [design.cell({n: column[i] for n, column in columns.items()}) for i in range(len(table))]
    return design


def _mark_outcomes(table: pd.DataFrame) -> list[str]:
    """Adds `learned` and `score` to the table; returns notes on runs that are left out or judged differently.

    A run that failed was stopped by the machine or by a mistake, which says nothing about its settings: its score is
    missing. A run that diverged after it had learned is judged by its best checkpoint, and a trial that a search pruned
    by its best validation.
    """
    ended = table["status"].isin(["completed", "diverged", "pruned"])
    learned = table["wer"] < LEARNED_BELOW
    table["learned"] = ended & learned
    table["score"] = table["wer"].where(learned | table["wer"].isna(), 1.0)
    table.loc[(table["status"] == "diverged") & ~learned, "score"] = 1.0
    table.loc[table["status"] == "failed", "score"] = math.nan
    notes = []
    if interrupted := int((table["status"] == "interrupted").sum()):
        notes.append(f"{interrupted} interrupted: shown in the curves, in no comparison")
    if failed := int((table["status"] == "failed").sum()):
        notes.append(f"{failed} failed (an error or a lost machine, not divergence): missing, in no comparison")
    if pruned := int((table["status"] == "pruned").sum()):
        notes.append(f"{pruned} pruned by their search: judged by the best validation before they were stopped")
    late = table["run"][(table["status"] == "diverged") & learned]
    if len(late):
        names = ", ".join(late.astype(str).head(8)) + (" ..." if len(late) > 8 else "")
        notes.append(f"{len(late)} diverged after learning, judged by the best checkpoint ({names})")
    return notes


def in_common(setting: Setting, small: list[Any], large: list[Any]) -> tuple[list[bool], list[bool]]:
    """Whether each run's value is one that both models tried.

    Numbers with more than five values (a search over a range) are compared by range: inside the range of both models.
    """
    if setting.numeric and len(setting.values) > 5:
        low = max(min(v[0] for v in side) for side in (small, large))
        high = min(max(v[0] for v in side) for side in (small, large))
        return [low <= v[0] <= high for v in small], [low <= v[0] <= high for v in large]
    both = set(small) & set(large)
    return [v in both for v in small], [v in both for v in large]


def common_support(
    design: Design, rows: list[pd.DataFrame], ignored: tuple[str, ...] = (), seed: int = 0
) -> tuple[list[pd.DataFrame], str]:
    """Each model's runs at values that both models tried, and the values that one model lacks, as text.

    Where the models share combinations of settings, equally many runs of each combination are kept, drawn at random,
    so that neither more runs nor a different mixture of settings can pass for a better model.

    Args:
        rows: the runs of the smaller and of the larger model.
        ignored: options that may differ, such as the length of a run where the models are compared at equal compute.
    """
    lacking = []
    for setting in design.settings:
        if set(setting.columns) <= set(ignored) or min(map(len, rows)) == 0:
            continue
        kept = in_common(setting, *(setting.of(r) for r in rows))
        for model, r, keep in zip(design.models[::-1], rows, kept, strict=True):
            alone = dict.fromkeys(v for v, k in zip(setting.of(r), keep, strict=True) if not k)
            if alone:
                values = ", ".join(" & ".join(map(say, v)) for v in list(alone)[:4]) + (
                    " ..." if len(alone) > 4 else ""
                )
                lacking.append(f"{model} was not run at {setting.name} = {values}")
        rows = [r[keep] for r, keep in zip(rows, kept, strict=True)]
    shared = set(rows[0]["cell"]) & set(rows[1]["cell"])
    pairs = {c: min(int((r["cell"] == c).sum()) for r in rows) for c in sorted(shared)}
    if sum(pairs.values()) * 2 >= min(map(len, rows)) > 0:
        rng = np.random.default_rng(seed)
        shuffled = [r.iloc[rng.permutation(len(r))] for r in rows]
        rows = [r[r.groupby("cell").cumcount() < r["cell"].map(pairs).fillna(0)] for r in shuffled]
    return rows, "; ".join(lacking)


def _same_utterances(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The largest group of runs scored on the same utterances, and the number of other runs."""
    if table.empty:
        return table, 0
    _, keys = scored_on(table)
    most = keys.value_counts().index[0]
    return table[keys == most].copy(), int((keys != most).sum())


def _pick(table: pd.DataFrame, small: str | None, large: str | None) -> tuple[str, str]:
    """The names of the smaller and of the larger model; twice the same name if there is one model."""
    sizes = table.groupby("model")["parameters"].median().sort_values()
    names = list(sizes.index)
    if not names:
        raise ValueError("None of the runs can be read; the reasons are printed above.")
    for given in (small, large):
        if given is not None and given not in names:
            raise ValueError(f"No run of a model named {given!r}. There are: {', '.join(names)}.")
    if len(names) == 1:
        return names[0], names[0]
    if small is not None and large is not None:
        return small, large
    state = f"State both: --small NAME --large NAME. There are: {', '.join(names)}."
    unknown = [n for n in names if not sizes[n] > 0]
    if unknown:
        raise ValueError(
            f"The number of parameters of {', '.join(unknown)} is not known, so the larger model is not either. {state}"
        )
    small = small or next(n for n in names if n != large)
    large = large or next(n for n in reversed(names) if n != small)
    if sizes[small] == sizes[large]:
        raise ValueError(
            f"{small} and {large} have the same number of parameters, so neither is the larger. Differences are "
            f"reported as the large model's WER minus the small one's. {state}"
        )
    return small, large


def _settings(runs: Runs, table: pd.DataFrame) -> tuple[list[Setting], list[str]]:
    """The options that vary within a model, those that always change together as one; and those fixed to a model."""
    found: dict[tuple[int, ...], list[str]] = {}
    fixed = []
    for column in runs.options:
        if column == runs.by or column.startswith(_NO_SETTING) or column.startswith(SCORED):
            continue
        values = [_plain(v) for v in table[column]]
        codes, distinct = pd.factorize(pd.Series([repr(v) for v in values]))
        if len(distinct) < 2:
            continue
        within = pd.Series(codes, table.index).groupby(table["model"]).nunique().max()
        if within < 2:
            if column not in _OF_THE_MODEL:
                fixed.append(column)
        else:
            found.setdefault(tuple(codes), []).append(column)
    settings = []
    for columns in found.values():
        tried = {repr(v): v for v in (tuple(_plain(x) for x in row) for row in table[columns].itertuples(index=False))}
        ordered = tuple(sorted(tried.values(), key=_order))
        numbers = [v[0] for v in ordered if isinstance(v[0], float)]
        numeric = len(columns) == 1 and len(numbers) == len(ordered) > 2 and min(numbers) >= 0
        settings.append(Setting(tuple(columns), ordered, numeric))
    return sorted(settings, key=lambda s: s.name), fixed


def _reference(
    settings: list[Setting], table: pd.DataFrame, given: dict[str, Any]
) -> tuple[dict[str, tuple[Any, ...]], str]:
    defaults = _defaults()
    reference: dict[str, tuple[Any, ...]] = {}
    origins = {"given": 0, "khasr's default, which is the card's": 0, "the most common value": 0}
    for setting in settings:
        by_model = [set(setting.of(rows)) for _, rows in table.groupby("model")]
        default = tuple(defaults.get(c) for c in setting.columns)
        asked = [
            v
            for v in setting.values
            if all(_same(given[c], x) for c, x in zip(setting.columns, v, strict=True) if c in given)
        ]
        if any(c in given for c in setting.columns):
            if not asked:
                raise ValueError(
                    f"--reference {setting.name}: no run has that value. Tried: "
                    + ", ".join(" & ".join(map(say, v)) for v in setting.values)
                    + "."
                )
            reference[setting.name], origin = asked[0], "given"
        elif all(default in tried for tried in by_model):
            reference[setting.name], origin = default, "khasr's default, which is the card's"
        else:
            counts = pd.Series(setting.of(table)).value_counts()
            shared = [v for v in counts.index if all(v in tried for tried in by_model)]
            counts = counts[shared] if shared else counts
            common = counts[counts == counts.max()].index
            reference[setting.name], origin = min(common, key=_order), "the most common value"
        origins[origin] += 1
    sources = "; ".join(f"{origin} ({count} setting{'s' * (count > 1)})" for origin, count in origins.items() if count)
    return reference, sources or "nothing varies"


def _defaults() -> dict[str, Any]:
    sections = {
        "data": options.DataConfig, "model": options.ModelConfig, "finetune": options.FinetuneConfig,
        "optimizer": options.OptimizerConfig, "schedule": options.ScheduleConfig,
        "precision": options.PrecisionConfig, "decoder": options.DecoderConfig, "trainer": options.TrainerConfig,
    }  # fmt: skip
    nested = {
        name: {f.name: getattr(section(), f.name) for f in dataclasses.fields(section)}
        for name, section in sections.items()
    }
    plain = {
        name: {
            k: dataclasses.asdict(v) if dataclasses.is_dataclass(v) and not isinstance(v, type) else v
            for k, v in s.items()
        }
        for name, s in nested.items()
    }
    return {key: _plain(value) for key, value in flatten(plain).items()}


def _plain(value: Any) -> Any:
    """An option's value with one type for numbers, so that 1 and 1.0 are equal; None if it is missing."""
    if value is None or value != value:
        return None
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool":
        return bool(value)
    return float(value) if isinstance(value, int | float) or hasattr(value, "dtype") else value


def _same(asked: Any, value: Any) -> bool:
    return _plain(asked) == value or str(asked) == say(value)


def _order(value: tuple[Any, ...]) -> list[tuple[int, float, str]]:
    return [(0, v, "") if isinstance(v, float) else (1, 0.0, str(v)) for v in value]


def _short(column: str) -> str:
    """An option's name, without its section where the name is clear."""
    return column.split(".", 1)[-1] if column.startswith(("optimizer.", "trainer.", "model.", "data.")) else column
