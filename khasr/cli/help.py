"""TODO."""

import ast
import dataclasses
import functools
import inspect
import sys
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from khasr.cli.errors import _tell
from khasr.config import CONF_DIR, check_ranges, compose_root, options

# ---------------------------------------------------------------------------------------------------------------- help


def _tell_help(command: str, overrides: list[str], root: str) -> int:
    """Prints the groups' choices and every option with its value, as composed, and its documentation."""
    try:
        composed = compose_root(root, overrides)
        required = OmegaConf.missing_keys(composed)
        for key in required:
            OmegaConf.update(composed, key, "")  # a placeholder: only objects without missing values can be built
        config = OmegaConf.to_object(composed)
        check_ranges(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return _tell(error)
    module = sys.modules["__main__"].__doc__ or ""
    lines = [
        module.strip(),
        "",
        f"python -m khasr.{command} [-m] [GROUP=CHOICE ...] [OPTION=VALUE ...]",
        "",
        "Groups and choices:",
    ]
    of_command = [path for path in CONF_DIR.iterdir() if path.is_dir() and (root == "train" or path.name in composed)]
    for group in sorted(of_command):
        lines.append(f"  {group.name}={'|'.join(sorted(choice.stem for choice in group.glob('*.yaml')))}")
    lines += ["", "Options, with their values under the choices made here:"]
    lines += _describe(config, "", required)
    lines += [
        "",
        "--cfg job prints the composed configuration; -m runs every combination of comma-separated values;",
        "--hydra-help tells Hydra's own flags.",
    ]
    print("\n".join(lines))
    return 0


def _describe(section: Any, prefix: str, required: set[str]) -> list[str]:
    documentation = _field_documentation()
    lines = []
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            lines += _describe(value, f"{name}.", required)
            continue
        owner = next(k for k in type(section).__mro__ if field.name in documentation.get(k.__name__, {}) or k is object)
        text = documentation.get(owner.__name__, {}).get(field.name, (type(section).__doc__ or "").split("\n")[0])
        shown = "??? (required)" if name in required else "null" if value is None else value
        lines.append(f"  {name}={shown}\n      {text}")
    return lines


@functools.cache
def _field_documentation() -> dict[str, dict[str, str]]:
    """The string under each field of each class in config.py: Python itself drops it."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(options)).body:
        if isinstance(node, ast.ClassDef):
            fields = found.setdefault(node.name, {})
            for before, after in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(before, ast.AnnAssign)
                    and isinstance(before.target, ast.Name)
                    and isinstance(after, ast.Expr)
                    and isinstance(after.value, ast.Constant)
                ):
                    fields[before.target.id] = " ".join(str(after.value.value).split())
    return found
