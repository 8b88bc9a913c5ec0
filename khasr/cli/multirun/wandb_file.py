"""Reads a wandb sweep file as a Hydra sweep of khasr.train."""

import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from khasr.cli.multirun.early_terminate import grid_search_words, pruner_words
from khasr.cli.overrides import check_file_override
from khasr.cli.wandb_agent import flatten, is_section, to_grammar
from khasr.config import read_plain_yaml

_LOG = ("log_uniform_values",)
_LINEAR = ("uniform", "int_uniform", None)


def read_sweep(file: Path, overrides: list[str], trials: int | None = None) -> list[str]:
    """The arguments of khasr.train that run a wandb sweep file.

    A grid becomes Hydra's own sweep, any other method a search by Optuna; so does a grid with early_terminate, which
    becomes a pruner. The logger is left out. The sweep's folder is runs/NAME, so that the same command continues it.

    Args:
        file: a sweep file in the format of `wandb sweep`.
        overrides: overrides of khasr.train, which replace parameters of the file.
        trials: number of runs of a search; the file's run_cap if None.

    Raises:
        ValueError: not a sweep file, or one that Hydra's sweepers cannot run.
        FileNotFoundError: no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist. Expected a wandb sweep file, such as sweeps/h1_lr.yaml.")
    try:
        sweep = read_plain_yaml(file)
    except ValueError as error:
        raise ValueError(f"{file}: {error} Expected a wandb sweep file, such as sweeps/h1_lr.yaml.") from error
    if not {"method", "parameters"} <= sweep.keys() or not _are_parameters(sweep["parameters"]):
        raise ValueError(
            f"{file} has no method and parameters. Expected a wandb sweep file, such as sweeps/h1_lr.yaml."
        )
    given = {word.partition("=")[0] for word in overrides}
    defined = _flat(file, sweep["parameters"])
    parameters = {k: v for k, v in defined.items() if k not in given and k != "logger"}
    options = _command_options(file, sweep, defined)
    fixed = [word for word in options if word.partition("=")[0] not in {*given, "logger"}]
    searched = sweep["method"] != "grid"
    if trials is not None and not searched:
        raise ValueError(
            f"{file} is a grid, whose number of runs is the number of combinations: --trials={trials} is for a search."
        )
    words = [*fixed, *(f"{name}={_values(file, name, options, searched)}" for name, options in parameters.items())]
    for word in words:
        check_file_override(word, str(file))
    words = ["-m", *words]
    if searched:
        # A search spends its trials where results are good: two model sizes in it would get different numbers.
        sizes = [word for word in [*words, *overrides] if word.startswith("model=")]
        if not sizes or any("," in word for word in sizes):
            raise ValueError(
                f"{file} is a search ({sweep['method']}) over no or several models, which would get different numbers "
                "of trials. Set one model, such as model=xlsr_1b, and run a separate search for each."
            )
        trials = trials or sweep.get("run_cap")
        if trials is None:
            raise ValueError(
                f"{file} is a search ({sweep['method']}) without run_cap: set the number of runs with --trials N."
            )
        words += ["hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}"]
        if sweep["method"] == "random":
            words.append("hydra/sweeper/sampler=random")
    if "sweep.pruner" not in given:
        pruner = pruner_words(file, sweep, [*words, *overrides])
        if pruner and not searched:
            words += grid_search_words([*words, *overrides])
        words += pruner
    if "hydra.sweep.dir" not in given:
        # A search over a different model is a separate search.
        model = next((w.partition("=")[2] for w in overrides if searched and w.startswith("model=")), None)
        words.append(f"hydra.sweep.dir=runs/{file.stem}{f'_{model}' if model else ''}")
    return words + overrides


def _values(file: Path, name: str, options: dict[str, Any], searched: bool) -> str:
    """The values of a parameter in Hydra's grammar."""
    if "value" in options:
        return to_grammar(options["value"])
    if "values" in options:
        return ",".join(map(to_grammar, options["values"]))
    kind = options.get("distribution")
    if {"min", "max"} <= options.keys() and kind in (*_LOG, *_LINEAR):
        ends = [options["min"], options["max"]]
        whole = kind == "int_uniform" or (kind is None and all(isinstance(end, int) for end in ends))
        ends = [int(end) if whole else float(end) for end in ends]  # to Hydra two integers are a range of integers
        interval = f"interval({ends[0]},{ends[1]})"
        if searched:
            return f"tag(log,{interval})" if kind in _LOG else interval
        if whole:  # a grid has all of them
            return ",".join(str(value) for value in range(ends[0], ends[1] + 1))
    raise ValueError(
        f"{file}: {name} is {options}. Expected value, values or min and max, in a grid of whole numbers, in a search "
        "with the distribution uniform, int_uniform or log_uniform_values."
    )


def _are_parameters(parameters: Any) -> bool:
    return isinstance(parameters, dict) and all(
        isinstance(options, dict)
        and isinstance(options.get("values", []), list)
        and ("parameters" not in options or _are_parameters(options["parameters"]))
        for options in parameters.values()
    )


def _flat(file: Path, parameters: dict[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    """The parameters by full names: nested ones, and the options of a section that are set by one mapping.

    Raises:
        ValueError: several mappings for a section, which Hydra cannot vary together.
    """
    flat: dict[str, dict[str, Any]] = {}
    for key, options in parameters.items():
        name = f"{prefix}{key}"
        if "parameters" in options:
            flat |= _flat(file, options["parameters"], f"{name}.")
        elif "value" in options:
            flat |= {option: {"value": value} for option, value in flatten(name, options["value"])}
        elif is_section(name) and any(isinstance(value, dict) for value in options.get("values", [])):
            raise ValueError(
                f"{file}: the values of {name} are mappings. Expected one parameter for each option, nested or by its "
                f"full name, such as {name}.OPTION."
            )
        else:
            flat[name] = options
    return flat


def _command_options(file: Path, sweep: dict[str, Any], parameters: Container[str]) -> list[str]:
    """The options in the file's `command`, which wandb's agent passes to every run.

    Args:
        parameters: the full names of the file's parameters.

    Raises:
        ValueError: a command that is no list, does not run khasr.train, sets environment variables, or whose options
            are also parameters.
    """
    command = sweep.get("command") or []
    if not isinstance(command, list):
        raise ValueError(f"{file}: command is {command}. Expected a list of words.")
    words = [str(word) for word in command]
    program = str(sweep.get("program", "khasr/train.py"))
    starts = [i for i, word in enumerate(words) if word in ("khasr.train", "${program}", program)]
    if words and not starts:
        raise ValueError(f"{file}: command is {command}. Expected one that runs khasr.train.")
    options = [word for word in words[starts[0] + 1 :] if not re.fullmatch(r"\$\{\w+\}", word)] if starts else []
    variables = [word for word in words[: starts[0]] if re.match(r"[A-Za-z_]\w*=", word)] if starts else []
    variables = [word for word in variables if not word.startswith("WANDB_")]
    if variables:
        raise ValueError(
            f"{file}: {variables[0]} in command sets an environment variable, which khasr.sweep does not do. Remove it "
            "there, and set it in the shell."
        )
    twice = [word for word in options if word.partition("=")[0] in parameters]
    if twice:
        raise ValueError(f"{file}: {twice[0]} is in command, and also one of the parameters. Remove one of them.")
    flags = [word for word in options if word.startswith("-") or "=" not in word]
    if flags:
        raise ValueError(f"{file}: {flags[0]} in command is not an option of khasr.train. Expected OPTION=VALUE.")
    return options
