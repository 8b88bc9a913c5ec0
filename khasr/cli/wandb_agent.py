"""Parameters of wandb sweeps as overrides: those that wandb's agent passes to a trial, and those in a sweep file.

The agent writes each value as Python prints it, None and True among them, and nested parameters as a dict. Hydra reads
such words as text, or not at all. The agent also saves the values as YAML, from which they are read here, so that a
trial of the agent and the same run of khasr.sweep have equal options.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException

from khasr.cli.resume import parse_overrides, quote
from khasr.config import Config, read_plain_yaml


def read_agent_arguments(arguments: list[str]) -> list[str]:
    """The arguments of a trial with the agent's words replaced by overrides; unchanged without an agent.

    Raises:
        ValueError: the file with the agent's parameters cannot be read.
    """
    path = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    if not (path and os.environ.get("WANDB_SWEEP_ID")) or not Path(path).is_file():
        return arguments
    try:
        saved = read_plain_yaml(Path(path))
    except ValueError as error:
        raise ValueError(f"{path}, which wandb's agent wrote: {error}") from error
    parameters = {name: entry["value"] for name, entry in saved.items() if isinstance(entry, dict) and "value" in entry}
    others = _without_words_of(parameters, arguments)
    if {"-m", "--multirun"} & set(others):
        return arguments  # a sweep that was started in the shell of a trial
    given = {word.partition("=")[0] for word in others}
    pairs = [pair for name, value in parameters.items() for pair in flatten(name, value)]
    return [*(f"{name}={to_grammar(value)}" for name, value in pairs if name not in given), *others]


def flatten(name: str, value: Any) -> list[tuple[str, Any]]:
    """A parameter as pairs of an option and its value: several if it sets options of a section, such as `optimizer`."""
    if isinstance(value, dict) and is_section(name):
        return [pair for key, inner in value.items() for pair in flatten(f"{name}.{key}", inner)]
    return [(name, value)]


def is_section(name: str) -> bool:
    """Whether the name is that of a section of the options, and not of an option."""
    kind: Any = Config
    for part in name.split("."):
        fields = {field.name: field.type for field in dataclasses.fields(kind)}
        kind = fields.get(part)
        if not dataclasses.is_dataclass(kind):
            return False
    return True


def to_grammar(value: Any) -> str:
    """A YAML value in Hydra's grammar.

    A text that Hydra reads as one value is passed as it is, quotes, null and numbers included, as it would be on the
    command line; any other, such as one with commas or with a single quote, is quoted.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(to_grammar, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{to_grammar(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, str) and not _is_one_value(value):
        return quote(value)
    return str(value)


def _is_one_value(text: str) -> bool:
    if not text or text != text.strip() or text.endswith("\\"):
        return False  # among other values it would be nothing, be stripped, or escape the comma
    try:
        (override,) = parse_overrides([f"x={text}"])
    except HydraException:
        return False
    return override.value_type is ValueType.ELEMENT


def _without_words_of(parameters: Mapping[str, Any], arguments: list[str]) -> list[str]:
    """The arguments without those that the agent made of the parameters, in any of the forms that wandb has."""
    words, pairs = set(), set()
    for name, value in parameters.items():
        words |= {f"{prefix}{name}={value}" for prefix in ("", "--", "+", "++")}  # ${args}, ${args_no_hyphens}, ...
        if value is True:
            words.add(f"--{name}")  # ${args_no_boolean_flags}
        pairs.add((f"--{name}", str(value)))  # ${args_no_equals}
    kept: list[str] = []
    position = 0
    while position < len(arguments):
        if (arguments[position], "".join(arguments[position + 1 : position + 2])) in pairs:
            position += 2
            continue
        if arguments[position] not in words:
            kept.append(arguments[position])
        position += 1
    return kept
