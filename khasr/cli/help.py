"""`--help`: the groups and options of a command, with their documentation."""

import ast
import dataclasses
import functools
import inspect
import itertools
import os
import sys
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from khasr.cli.errors import report_error
from khasr.config import CONF_DIR, check_ranges, compose_root

# The options of a training run that people change first.
_OFTEN = (
    "data.root", "data.split", "data.batch_size", "model.checkpoint", "optimizer.lr", "schedule.warmup",
    "trainer.max_epochs", "trainer.val_every_steps", "seed", "score_test",
)  # fmt: skip


def print_help(command: str, overrides: list[str], root: str) -> int:
    """Prints the choices of each group, and every option with its composed value; returns the exit code.

    The help of training starts with the ten options that are set most often.
    """
    try:
        composed = compose_root(root, overrides)
        required = OmegaConf.missing_keys(composed)
        for key in required:
            OmegaConf.update(composed, key, "")  # a placeholder, because objects cannot have missing values
        config = OmegaConf.to_object(composed)
        check_ranges(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return report_error(error)
    module = sys.modules["__main__"].__doc__ or ""
    lines = [
        module.strip(),
        "",
        f"python -m khasr.{command} [-m] [GROUP=CHOICE ...] [OPTION=VALUE ...]",
        "",
        "Groups and choices:",
    ]
    groups = [path for path in CONF_DIR.rglob("*") if path.is_dir()]
    for group in sorted(groups):
        name = str(group.relative_to(CONF_DIR))
        if root == "train" or name.split("/")[0] in composed:
            lines.append(f"  {name}={'|'.join(sorted(choice.stem for choice in group.glob('*.yaml')))}")
    options = {line.strip().split("=")[0]: line for line in describe_options(config, "", required)}
    often = [options[name] for name in _OFTEN if name in options] if root == "train" else []
    if often:
        place = lines.index("Groups and choices:")
        lines[place:place] = [
            "Options that are set most often, with their values under the choices made here:",
            *often,
            "",
        ]
    lines += ["", "All options, by group:" if often else "Options, with their values under the choices made here:"]
    for section, members in itertools.groupby(options, key=lambda name: name.split(".")[0] if "." in name else ""):
        lines += ["", f"{section}:" if section else "general:", *(options[name] for name in members)]
    lines += [
        "",
        "--cfg job prints the composed configuration; -m runs every combination of comma-separated values;",
        "--hydra-help describes Hydra's own flags.",
    ]
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # a reader such as head has ended; the rest is discarded
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def describe_options(section: Any, prefix: str = "", required: set[str] | None = None) -> list[str]:
    """Two lines for each option of a section: its name with its value, and its documentation."""
    documentation = field_documentation(type(section))
    lines = []
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            lines += describe_options(value, f"{name}.", required)
            continue
        text = documentation.get(field.name, (type(section).__doc__ or "").split("\n")[0])
        shown = "??? (required)" if name in (required or ()) else "null" if value is None else value
        lines.append(f"  {name}={shown}\n      {text}")
    return lines


def field_documentation(section: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, also of inherited fields; parsed from the source."""
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if dataclasses.is_dataclass(kind):
            found |= _module_documentation(kind.__module__).get(kind.__name__, {})
    return found


@functools.cache
def _module_documentation(module: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.ClassDef):
            fields = found.setdefault(node.name, {})
            for before, after in itertools.pairwise(node.body):
                if (
                    isinstance(before, ast.AnnAssign)
                    and isinstance(before.target, ast.Name)
                    and isinstance(after, ast.Expr)
                    and isinstance(after.value, ast.Constant)
                ):
                    fields[before.target.id] = " ".join(str(after.value.value).split())
    return found
