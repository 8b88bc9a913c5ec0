"""The factors in which two recipes differ: resolved options compared, linked options grouped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from khasr.config import to_plain
from khasr.run.folder import RunFolder

Options = dict[str, Any]
"""Resolved options by their dotted names."""

# Options that do not change what is learned or how it is scored, with seeds and paths.
WITHOUT_EFFECT = (
    "seed", "resume", "score_test", "sweep.", "logger.", "data.order_seed", "data.num_workers", "data.cache_dir",
    "data.eval_batch_size", "data.url", "data.archive_bytes", "data.archive_sha256", "trainer.progress_bar",
    "trainer.log_every_steps", "trainer.deterministic", "trainer.strategy", "trainer.accelerator",
    "trainer.save_every_minutes", "model.gradient_checkpointing", "model.compile", "model.feature_cache_gib",
    "decoder.backend",
)  # fmt: skip

# Options that must be equal for the recipes to have the same val utterances with the same references.
_OF_VAL = (
    "data.name", "data.root", "data.table", "data.audio_column", "data.text_column", "data.speaker_column",
    "data.id_column", "data.dataset", "data.revision", "data.files", "data.corpora", "data.utterances", "data.voices",
    "data.corpus_seed", "data.sentences", "data.lexicon", "data.split", "data.split_seed", "data.test_share",
    "data.val_share", "data.min_seconds", "data.max_seconds", "data.on_error",
)  # fmt: skip
_NOT_OF_REFERENCES = ("data.text.units", "data.text.unknown_symbols")

# Options that are one factor because they cannot be changed one by one. A name that ends with a dot is a section.
LINKED: dict[str, tuple[str, ...]] = {
    "size": ("model.name", "model.checkpoint", "model.init", "model.language", "model.architecture."),
    "audio per update": (
        "data.batch_size", "data.batch_seconds", "trainer.accumulate_grad_batches", "trainer.devices",
        "trainer.num_nodes",
    ),
    "length": ("trainer.max_epochs", "trainer.max_steps"),
    "time masks": ("model.mask_time_prob", "model.mask_time_length"),
    "channel masks": ("model.mask_feature_prob", "model.mask_feature_length"),
    "decoder": ("decoder.",),
    "augmentation": ("data.augment.",),
}  # fmt: skip
_SHORT = {
    "optimizer.lr": "lr",
    "schedule.warmup": "warm-up",
    "precision.name": "precision",
    "trainer.val_every_steps": "validations",
}
STAGE = "first stage"
_SECTIONS = {
    "precision": ("precision.",),
    "schedule": ("schedule.",),
    "optimizer": ("optimizer.",),
    "finetune": ("finetune.",),
    "text": ("data.text.",),
    STAGE: ("model.checkpoint", "model.init", "model.head"),
}


class _Absent:
    def __repr__(self) -> str:
        return "(no such option)"


_ABSENT = _Absent()


@dataclass(frozen=True)
class Factor:
    """Options that are changed together.

    Attributes:
        a, b: their values in each recipe; an option that a recipe's choices do not have is left out.
        shown: the options that have an effect.
    """

    name: str
    a: Options
    b: Options
    shown: tuple[str, ...]

    def describe(self) -> str:
        """The values in A and in B."""
        return ", ".join(f"{key}: {_shown(self.a.get(key))} -> {_shown(self.b.get(key))}" for key in self.shown)


@dataclass
class Comparison:
    """Two recipes compared.

    Attributes:
        base: A's options, with what is fixed.
        notes: remarks on the comparison, for the reader.
    """

    base: Options
    factors: list[Factor]
    notes: list[str] = field(default_factory=list)

    def cell(self, index: int) -> Options:
        """The options of a cell: A's, with the factors of its bits as in B."""
        options = dict(self.base)
        for i, factor in enumerate(self.factors):
            if index >> i & 1:
                options = {key: value for key, value in options.items() if key not in factor.a} | factor.b
        return options

    def cell_name(self, index: int) -> str:
        """The name of a cell: A, B, or A with the factors that are set as in B."""
        if index == 2 ** len(self.factors) - 1:
            return "B"
        return "_".join(["A", *(_word(f.name) for i, f in enumerate(self.factors) if index >> i & 1)])


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Options:
    """Nested options by their dotted names."""
    flat: Options = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def nest(options: Options) -> dict[str, Any]:
    """The inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for key, value in options.items():
        *sections, name = key.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return nested


def compare(
    a: Options, b: Options, groups: Mapping[str, Sequence[str]] | None = None, fixed: Mapping[str, Any] | None = None
) -> Comparison:
    """The factors in which recipe B differs from A.

    Args:
        a, b: all options of each recipe.
        groups: factors by name, each of options (or sections, ending with a dot) that are to be changed together.
        fixed: options, sections or factors that keep one value in all cells: that given, A's where it is None.

    Raises:
        ValueError: no factor, no val part in common, or a group or a fixed option that does not exist.
    """
    a, b = dict(a), dict(b)
    groups, fixed = dict(groups or {}), dict(fixed or {})
    _fix_options(a, b, groups, fixed)
    _check_val(a, b)
    if a.get("data.root") is None and "data.root" in b:
        a["data.root"] = b["data.root"]  # a path that one recipe leaves to the default
    differing = [
        key
        for key in dict.fromkeys([*a, *b])
        if a.get(key, _ABSENT) != b.get(key, _ABSENT) and not _matches(key, (*WITHOUT_EFFECT, *_OF_VAL))
    ]
    idle = {key for key in differing if _has_no_effect(key, a) and _has_no_effect(key, b)}
    if _utterances_per_update(a) == _utterances_per_update(b):
        idle |= {*LINKED["audio per update"]}
    factors, left_out = [], []
    for name, keys in _group(differing, a, b, groups).items():
        shown = tuple(key for key in keys if key not in idle)
        if shown:
            factors.append(Factor(name, _some(a, keys), _some(b, keys), shown))
        else:
            left_out += keys
    if not factors:
        raise ValueError(
            "A and B do not differ in any option that affects learning (seeds, loggers, devices and paths do not "
            "count): there is no gap to explain. Expected two recipes, as run folders or quoted overrides."
        )
    notes = [f"Left out, because they have no effect here: {', '.join(left_out)}."] if left_out else []
    return Comparison(a, factors, notes + _warmup_notes(a, factors) + _stage_notes(a, b, factors))


def _some(options: Options, keys: Sequence[str]) -> Options:
    return {key: options[key] for key in keys if key in options}


def _utterances_per_update(options: Options) -> tuple[Any, ...]:
    """The utterances or seconds of audio of an optimizer step, summed over batches and devices."""
    steps = [options.get(f"trainer.{k}", 1) for k in ("accumulate_grad_batches", "devices", "num_nodes")]
    many = steps[0] * steps[1] * steps[2]
    if options.get("data.batch_seconds") is not None:
        return "seconds", options["data.batch_seconds"] * many
    return "utterances", options.get("data.batch_size", 1) * many


def _fix_options(a: Options, b: Options, groups: Mapping[str, Sequence[str]], fixed: Mapping[str, Any]) -> None:
    """Gives both recipes the fixed options' values; raises ValueError for a name that does not exist."""
    for name, value in fixed.items():
        patterns = groups.get(name) or LINKED.get(name) or _SECTIONS.get(name)
        patterns = patterns or (next((key for key, short in _SHORT.items() if short == name), name),)
        keys = [key for key in dict.fromkeys([*a, *b]) if _matches(key, patterns)]
        if not keys:
            raise ValueError(
                f"--fix {name}: no such option, section or factor. Expected the name of an option, such as data.split, "
                "or of a factor that --plan lists."
            )
        for key in keys:
            if value is not None:
                a[key] = value
            if key in a:
                b[key] = a[key]
            else:
                del b[key]


def _check_val(a: Options, b: Options) -> None:
    differing = [key for key in _OF_VAL if a.get(key) != b.get(key)]
    if "data.root" in differing and (a.get("data.name") == "openslr_km" or _same_place(a, b)):
        differing.remove("data.root")  # the same corpus, by two paths
    differing += [
        key
        for key in dict.fromkeys([*a, *b])
        if key.startswith("data.text.") and key not in _NOT_OF_REFERENCES and a.get(key) != b.get(key)
    ]
    if differing:
        key = differing[0]
        more = f", and {', '.join(differing[1:])}" if differing[1:] else ""
        raise ValueError(
            f"A and B do not have the same val part: {key} is {a.get(key)} in A and {b.get(key)} in B{more}. Error "
            "rates on different utterances or different references cannot be compared. "
            f"--fix {' '.join(differing)} gives both A's value; --fix OPTION=VALUE a different one."
        )


def _same_place(a: Options, b: Options) -> bool:
    places = [Path(str(o.get("data.root"))).expanduser().resolve() for o in (a, b)]
    return places[0] == places[1]


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(key.startswith(p) if p.endswith(".") else key == p for p in patterns)


def _has_no_effect(key: str, options: Options) -> bool:
    """Whether an option has no effect in a recipe, given its other options."""
    section, _, name = key.partition(".")
    starts_random = options.get("model.init") == "random" and not is_run(options.get("model.checkpoint"))
    rules = {
        "trainer.max_epochs": options.get("trainer.max_steps") is not None,
        "data.batch_size": options.get("data.batch_seconds") is not None,
        "model.mask_time_length": options.get("model.mask_time_prob") == 0,
        "model.mask_feature_length": options.get("model.mask_feature_prob") == 0,
        "model.mask_counting": options.get("model.mask_time_prob") == options.get("model.mask_feature_prob") == 0,
        "model.checkpoint": starts_random,
        "model.head": not is_run(options.get("model.checkpoint")),
        "model.name": True,  # a label; a difference of size is one of checkpoint or architecture too
        "finetune.name": True,
        "optimizer.head_lr": options.get("optimizer.head_lr") in (None, options.get("optimizer.lr")),
    }
    if key.startswith("model.architecture."):
        return not starts_random
    if section == "decoder" and name not in ("", "name"):
        return options.get("decoder.name") == "greedy"
    return rules.get(key, key not in options)


def is_run(checkpoint: Any) -> bool:
    """Whether a checkpoint is the folder of a khasr run: the recipe then has two stages."""
    return isinstance(checkpoint, str) and RunFolder.at(checkpoint).is_run


def _group(
    differing: Sequence[str], a: Options, b: Options, groups: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """The differing options by factor: groups that were asked for, then linked options, then each alone."""
    linked = dict(LINKED)
    if a.get("schedule.name") != b.get("schedule.name"):
        ours = tuple(k for k in differing if k.startswith("schedule.") and k != "schedule.warmup")
        linked["schedule"] = ours
    if any(k.startswith("finetune.") and (k not in a or k not in b) for k in differing):
        linked["finetune"] = ("finetune.",)
    if a.get("optimizer.name") != b.get("optimizer.name"):
        linked["optimizer"] = ("optimizer.name", "optimizer.betas", "optimizer.eps")
    if _only_stage_differs(a, b):
        linked = {STAGE: _SECTIONS[STAGE]} | linked
    linked = {name: patterns for name, patterns in linked.items() if name not in groups}
    named: dict[str, list[str]] = {}
    left = list(differing)
    for name, patterns in [*groups.items(), *linked.items()]:
        keys = [key for key in left if _matches(key, patterns)]
        if name in groups and not keys:
            raise ValueError(
                f"--group {name}={','.join(patterns)}: A and B do not differ in these options. They differ in "
                f"{', '.join(differing) or 'none'}."
            )
        if name in groups:
            missing = [p for p in patterns if not any(_matches(key, (p,)) for key in [*a, *b])]
            if missing:
                raise ValueError(f"--group {name}: {missing[0]} is not an option of khasr.train.")
        if keys:
            named[name] = keys
            left = [key for key in left if key not in keys]
    for key in left:
        named[_SHORT.get(key, key)] = [key]
    return named


def _only_stage_differs(a: Options, b: Options) -> bool:
    """Whether a run is the start of one recipe or both, all of one shape: two-stage training is then a factor."""
    starts = (a.get("model.checkpoint"), b.get("model.checkpoint"))
    if starts[0] == starts[1] or not any(map(is_run, starts)):
        return False
    return _shape(a) == _shape(b)


def _shape(options: Options) -> dict[str, Any]:
    """The architecture a recipe trains; that of its first stage where it has one."""
    checkpoint = options.get("model.checkpoint")
    if is_run(checkpoint):
        options = flatten(to_plain(RunFolder.at(str(checkpoint)).read_config()))
    return {key: value for key, value in options.items() if key.startswith("model.architecture.")}


def _warmup_notes(base: Options, factors: Sequence[Factor]) -> list[str]:
    length = next((f for f in factors if {*LINKED["length"]} & f.a.keys()), None)
    if length is None or "schedule.warmup" in length.a:
        return []
    warmup = next((f for f in factors if "schedule.warmup" in f.a), None)
    values = [warmup.a["schedule.warmup"], warmup.b["schedule.warmup"]] if warmup else [base.get("schedule.warmup", 0)]
    steps = [value for value in values if value >= 1]
    if not steps:
        return []
    key = next(iter(length.a))
    return [
        f"The warm-up is in optimizer steps ({' and '.join(f'{v:g}' for v in steps)}), and {key} differs: steps are "
        "held fixed, so the warm-up's share of the run changes with the length. To hold the share fixed, give "
        "schedule.warmup below 1; to change both together, "
        f"--group length={','.join(length.a)},schedule.warmup."
    ]


def _stage_notes(a: Options, b: Options, factors: Sequence[Factor]) -> list[str]:
    starts = [o.get("model.checkpoint") for o in (a, b)]
    stages = [str(start) for start in starts if is_run(start)]
    if not stages:
        return []
    if any(f.name == STAGE for f in factors):
        return [
            f"Two-stage training is a factor: {' and '.join(stages)} is a run. Its own seed is not repeated, so the "
            "interval does not include the noise of the first stage."
        ]
    if starts[0] != starts[1]:
        return [
            f"{' and '.join(stages)} is a run, of a different shape than the other recipe's start: two-stage training "
            "and size are one factor here. To separate them, train a first stage of the other shape too."
        ]
    return [f"Both recipes start from {stages[0]}, a run; the noise of its seed is not in the intervals."]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "unset" if value is None else str(value)


def _word(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.rsplit(".", 1)[-1])
