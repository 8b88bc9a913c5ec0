"""Reads a wandb sweep file as a Hydra sweep of khasr.train."""

import re
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
    parameters = {k: v for k, v in sweep["parameters"].items() if k not in given and k != "logger"}
    fixed = [word for word in _command_options(file, sweep) if word.partition("=")[0] not in {*given, "logger"}]
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
    """The values of a parameter in Hydra's grammar, formatted as wandb's agent does."""
    if "value" in options:
        return _grammar(options["value"])
    if "values" in options:
        return ",".join(map(_grammar, options["values"]))
    kind = options.get("distribution")
    if searched and {"min", "max"} <= options.keys() and kind in (*_LOG, *_LINEAR):
        ends = [options["min"], options["max"]]
        if kind != "int_uniform" and not (kind is None and all(isinstance(end, int) for end in ends)):
            ends = [float(end) for end in ends]  # to Hydra two integers are a range of integers
        interval = f"interval({ends[0]},{ends[1]})"
        return f"tag(log,{interval})" if kind in _LOG else interval
    raise ValueError(
        f"{file}: {name} is {options}. Expected value, values or, in a search, min and max with the distribution "
        "uniform, int_uniform or log_uniform_values."
    )


def _grammar(value: Any) -> str:
    """A YAML value in Hydra's grammar; strings are not quoted, since they contain the quotes that they need."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_grammar, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_grammar(inner)}' for key, inner in value.items())}}}"
    return str(value)


def _are_parameters(parameters: Any) -> bool:
    return isinstance(parameters, dict) and all(
        isinstance(options, dict) and isinstance(options.get("values", []), list) for options in parameters.values()
    )


def _command_options(file: Path, sweep: dict[str, Any]) -> list[str]:
    """The options in the file's `command`, which wandb's agent passes to every run.

    Raises:
        ValueError: a command that is no list, that does not run khasr.train, or whose options are also parameters.
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
    twice = [word for word in options if word.partition("=")[0] in sweep["parameters"]]
    if twice:
        raise ValueError(f"{file}: {twice[0]} is in command, and also one of the parameters. Remove one of them.")
    flags = [word for word in options if word.startswith("-") or "=" not in word]
    if flags:
        raise ValueError(f"{file}: {flags[0]} in command is not an option of khasr.train. Expected OPTION=VALUE.")
    return options
