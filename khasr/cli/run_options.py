"""Options of commands with run=RUN; those not given come from the run's config.yaml and decoder.yaml."""

import functools
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from khasr.cli.resume import parse_overrides
from khasr.cli.run import Root, plain_root
from khasr.config import from_plain, roots, to_plain
from khasr.run.folder import RunFolder

_NEEDS_NO_RUN = ("--cfg", "--hydra-help", "--info", "--version")


def root_of_run(name: str) -> Root:
    """The root of a command under conf/, completed from the run that `run=` names."""
    return Root(name, functools.partial(_complete, name), functools.partial(_to_typed, name))


def root_with_run(name: str) -> Root:
    """As `root_of_run` if the command line has `run=`; else the options come only from the command line."""
    own = plain_root(name)

    def complete(arguments: list[str]) -> list[str]:
        return _complete(name, arguments) if any(a.startswith("run=") for a in arguments) else arguments

    def to_typed(composed: DictConfig, overrides: list[str]) -> Any:
        return _to_typed(name, composed, overrides) if composed.run is not None else own.to_typed(composed, overrides)

    return Root(name, complete, to_typed)


def _values(arguments: list[str]) -> dict[str, Any]:
    """The values on the command line, by option."""
    words = [a for a in arguments if "=" in a and not a.startswith("-")]
    return {override.key_or_group: override.value() for override in parse_overrides(words)}


def _complete(name: str, arguments: list[str]) -> list[str]:
    """The arguments with the run's `data=` added if they have none, so that its schema checks the options.

    Raises:
        ValueError: no run=, or a model that is not a khasr run without `data=`.
        FileNotFoundError: run= names neither a run nor a model.
    """
    if any(argument.startswith(_NEEDS_NO_RUN) for argument in arguments):
        return arguments
    values = _values(arguments)
    if "run" not in values:
        kinds = "the folder of a run" + ("" if name == "tune" else " or of a Hugging Face CTC model")
        raise ValueError(f"run= is missing. Expected python -m khasr.{name} run=RUN, {kinds}.")
    run = RunFolder.at(str(values["run"]))
    if run.is_run:
        return arguments if "data" in values else [*arguments, f"data={run.read_config().data.name}"]
    if name == "tune" or ("data" not in values and not (run.path / "config.json").is_file()):
        run.read_config()  # raises: not a run
    if "data" not in values:
        raise ValueError(
            f"run={values['run']} is not a khasr run, so its corpus is unknown. Set the corpus, for example "
            "data=folder data.root=DIR."
        )
    return arguments


def _to_typed(name: str, composed: DictConfig, overrides: list[str]) -> Any:
    """The options: the run's data and tuned decoder (also of an exported folder), changed by the overrides.

    `decoder=` on the command line is that choice with its defaults, not the tuned decoder. A corpus other than the
    run's is read with the run's text options, because the model was trained to write that form.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    run = RunFolder.at(plain["run"])
    values = _values(overrides)
    if run.is_run:
        own = to_plain(run.read_config().data)
        # Hydra's list of overrides includes the choice added by `_complete`; equal names mean the run's own corpus.
        if plain["data"]["name"] == own["name"]:
            plain["data"] = own
        plain["data"]["text"] = dict(own["text"])
    tuned = run.read_decoder() if name == "evaluate" and "decoder" not in values else None
    if tuned is not None:
        plain["decoder"] = to_plain(tuned)
    typed = from_plain(plain, roots()[name])
    for key, value in values.items():
        if key.startswith(("data.", "decoder.")):
            OmegaConf.update(typed, key, value)
    return OmegaConf.to_object(typed)
