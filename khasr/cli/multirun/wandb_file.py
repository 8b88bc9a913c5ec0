"""TODO."""

from pathlib import Path
from typing import Any

import yaml

_LOG = ("log_uniform_values",)


_LINEAR = ("uniform", "int_uniform", None)


def hydra_words(file: Path, overrides: list[str], trials: int | None = None) -> list[str]:
    """The words of khasr.train that make the runs of a wandb sweep file.

    A grid is Hydra's own, anything else a search by Optuna. What goes to wandb alone (logger, early stopping) is left
    out. The sweep's folder is runs/NAME, so that the same command goes on with it.

    Args:
        file: as `wandb sweep` takes it.
        overrides: of khasr.train; one of a parameter of the file takes that one's place.
        trials: of a search; the file's run_cap where None.

    Raises:
        ValueError: not a sweep file, or one that says what Hydra's sweepers cannot.
        FileNotFoundError: there is none.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file. Expected a wandb sweep file, such as sweeps/h1_lr.yaml.")
    sweep = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(sweep, dict) or not {"method", "parameters"} <= sweep.keys():
        raise ValueError(
            f"{file} has no method and parameters: expected a wandb sweep file, such as sweeps/h1_lr.yaml."
        )
    given = {word.partition("=")[0] for word in overrides}
    parameters = {k: v for k, v in sweep["parameters"].items() if k not in given and k != "logger"}
    searched = sweep["method"] != "grid"
    if trials is not None and not searched:
        raise ValueError(
            f"{file} is a grid, which has as many runs as there are combinations: --trials={trials} is for a search."
        )
    words = ["-m", *(f"{name}={_values(file, name, options, searched)}" for name, options in parameters.items())]
    if searched:
        # A search spends its trials where it does well: two sizes in it would not get the same number.
        sizes = [word for word in [*words, *overrides] if word.startswith("model=")]
        if not sizes or any("," in word for word in sizes):
            raise ValueError(
                f"{file} is a search ({sweep['method']}) over no or several models: each would get another number of "
                "trials. A search wants one model, model=xlsr_1b; another search has the other."
            )
        trials = trials or sweep.get("run_cap")
        if trials is None:
            raise ValueError(f"{file} is a search ({sweep['method']}) without run_cap: --trials N says how many runs.")
        words += ["hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}"]
        if sweep["method"] == "random":
            words.append("hydra/sweeper/sampler=random")
    if "hydra.sweep.dir" not in given:
        # A search of another model is another search.
        model = next((w.partition("=")[2] for w in overrides if searched and w.startswith("model=")), None)
        words.append(f"hydra.sweep.dir=runs/{file.stem}{f'_{model}' if model else ''}")
    return words + overrides


def _values(file: Path, name: str, options: dict[str, Any], searched: bool) -> str:
    """A parameter's values in Hydra's grammar, written as wandb's agent writes them."""
    if "value" in options:
        return str(options["value"])
    if "values" in options:
        return ",".join(str(value) for value in options["values"])
    kind = options.get("distribution")
    if searched and {"min", "max"} <= options.keys() and kind in (*_LOG, *_LINEAR):
        ends = [options["min"], options["max"]]
        if kind != "int_uniform" and not (kind is None and all(isinstance(end, int) for end in ends)):
            ends = [float(end) for end in ends]  # to Hydra two whole numbers are a range of them
        interval = f"interval({ends[0]},{ends[1]})"
        return f"tag(log,{interval})" if kind in _LOG else interval
    raise ValueError(
        f"{file}: {name} is {options}. Expected value, values or, in a search, min and max with the distribution "
        "uniform, int_uniform or log_uniform_values."
    )
