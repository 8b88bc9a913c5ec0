"""Checks overrides and flags, so that no file or option can run code.

Hydra instantiates what its own section of the configuration names (`_target_`), reads logging configurations that can
call functions, and composes any YAML file that a choice reaches. Only khasr's options, the choices under conf/, and
the settings of Hydra below are therefore accepted.
"""

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from khasr.cli.resume import parse_overrides
from khasr.config import CONF_DIR

_FLAGS = (
    "-m", "--multirun", "-h", "--help", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p",
    "--info", "-i", "--shell-completion", "-sc", "--run", "-r",
)  # fmt: skip
_GROUPS = ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler")
# hydra.job.name and hydra.output_subdir are set by Lightning when it starts the processes of several devices.
_SETTINGS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name", "hydra.output_subdir")
_PLUGINS = ("hydra.launcher.", "hydra.sweeper.")
# Settings of launchers and sweepers that are commands or connect to a database; not accepted from a sweep file.
_TRUSTED = (
    "setup", "python", "srun_args", "additional_parameters", "storage", "executor_params", "custom_search_space",
)  # fmt: skip


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses arguments that could make Hydra run code or read configurations from elsewhere.

    Raises:
        ValueError: such an argument; the message names it and what is accepted.
        hydra.errors.OverrideParseException: an override that is not in Hydra's grammar.
    """
    for argument in arguments:
        flag = argument.partition("=")[0]
        if argument.startswith("-") and flag not in _FLAGS:
            raise ValueError(
                f"{argument} is not a flag of this command. Accepted: -m, --help, --cfg job, --hydra-help, --version."
            )
    values = _after(arguments, ("--cfg", "-c", "--package", "-p", "--info", "-i"))
    words = [a for i, a in enumerate(arguments) if not a.startswith("-") and i not in values]
    for override in parse_overrides(words):
        _check(override)


def check_file_override(word: str, file: str) -> None:
    """Refuses an override from a sweep file that a command line may not have, or that is not a plain setting.

    Raises:
        ValueError: as `check_arguments`, or an interpolation or a command in the file.
    """
    if "${" in word:
        raise ValueError(f"{file}: {word} has an interpolation (${{...}}). Expected plain values in a sweep file.")
    for override in parse_overrides([word]):
        try:
            _check(override)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        last = override.key_or_group.rpartition(".")[2]
        if override.key_or_group.startswith(_PLUGINS) and last in _TRUSTED:
            raise ValueError(
                f"{file}: {override.key_or_group} is not accepted from a sweep file, because it can run commands. Set "
                "it on the command line of khasr.sweep."
            )


def _check(override: Override) -> None:
    key, word = override.key_or_group.lstrip("/"), override.input_line
    if override.package is not None or override.is_delete():
        raise ValueError(f"{word}: packages (GROUP@PACKAGE) and deletions (~KEY) are not accepted.")
    if key in _GROUPS or (re.fullmatch(r"\w+(/\w+)?", key) and (CONF_DIR / key).is_dir()):
        # A choice is a file name: a path could reach a YAML file outside conf/.
        if not all(re.fullmatch(r"[\w-]+|null|None", choice) for choice in _texts(override.value())):
            raise ValueError(f"{word}: expected the name of a choice, as --help lists them, not a path.")
        return
    if key.split(".")[0].split("/")[0] == "hydra":
        if key not in _SETTINGS and not key.startswith(_PLUGINS):
            accepted = ", ".join([*_GROUPS, *_SETTINGS, *(f"{prefix}*" for prefix in _PLUGINS)])
            raise ValueError(f"{word}: not a setting of Hydra that khasr accepts. Accepted: {accepted}.")
    elif "/" in key:
        raise ValueError(f"{word}: {key} is not a group of options. --help lists the groups.")
    names = [*key.split("."), *_keys(override.value())]
    hidden = next((name for name in names if re.fullmatch(r"_\w+_", name) or name == "()"), None)
    if hidden is not None:
        raise ValueError(f"{word}: {hidden} is not an option. khasr does not instantiate what an option names.")


def _after(arguments: Sequence[str], flags: tuple[str, ...]) -> set[int]:
    """The positions of the values that follow these flags."""
    return {i + 1 for i, argument in enumerate(arguments) if argument in flags}


def _texts(value: Any) -> list[str]:
    """The strings in a value, including the choices of a sweep and the elements of a list."""
    if value is None or value == "" or hasattr(value, "include"):  # a glob sweep, which selects existing choices
        return []
    if hasattr(value, "list"):  # a choice sweep
        return [text for element in value.list for text in _texts(element)]
    if isinstance(value, list):
        return [text for element in value for text in _texts(element)]
    return [str(value)]


def _keys(value: Any) -> list[str]:
    """All keys of the dicts in a value."""
    if hasattr(value, "list"):
        value = value.list
    if isinstance(value, dict):
        return [key for name, inner in value.items() for key in (str(name), *_keys(inner))]
    if isinstance(value, list | tuple):
        return [key for element in value for key in _keys(element)]
    return []
