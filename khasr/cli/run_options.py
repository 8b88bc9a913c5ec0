"""The options of commands that take a run: what the command line leaves out is the run's own."""

import functools
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from khasr.cli.run import Root
from khasr.config import from_plain, roots, to_plain
from khasr.run.folder import RunFolder, read_config


def root_of_run(name: str) -> Root:
    """A command's root under conf/, completed from the run that `run=` names."""
    return Root(name, functools.partial(_complete, name), functools.partial(_to_typed, name))


def _values(arguments: list[str]) -> dict[str, Any]:
    """The command line's values by their keys."""
    words = [a for a in arguments if "=" in a and not a.startswith("-")]
    return {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(words)}


def _own(run: Any) -> Path | None:
    """The run's folder where it is khasr's, with its config.yaml."""
    folder = Path(str(run)).expanduser()
    return folder if RunFolder(folder).is_run else None


def _complete(name: str, arguments: list[str]) -> list[str]:
    """The command line with the run's `data=`, where it has none: its options are checked by that.

    Raises:
        ValueError: no run, or a model of another's without `data=`.
    """
    values = _values(arguments)
    if "--cfg" in arguments or any(a.startswith(("--hydra-help", "--info", "--version")) for a in arguments):
        return arguments
    if "run" not in values:
        raise ValueError(
            f"run= is missing: python -m khasr.{name} run=RUN, the folder of a run"
            + (" or of a Hugging Face CTC model." if name == "evaluate" else ".")
        )
    folder = _own(values["run"])
    if folder is None:
        if "data" not in values or name == "tune":
            read_config(Path(str(values["run"]))) if name == "tune" or not _is_model(values["run"]) else None
            raise ValueError(
                f"run={values['run']} is not a run of khasr's, which would know its corpus: say data=folder "
                "data.root=DIR (or another corpus)."
            )
        return arguments
    if "data" not in values:
        arguments = [*arguments, f"data={read_config(folder).data.name}"]
    return arguments


def _is_model(run: Any) -> bool:
    return (Path(str(run)).expanduser() / "config.json").is_file()


def _to_typed(name: str, composed: DictConfig, overrides: list[str]) -> Any:
    """The options: the run's data and tuned decoder, changed by what the command line says of them.

    `decoder=` on the command line is that choice with its defaults, not the tuned one. Another corpus is read with the
    run's text options, since they are what the model learned to write.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    values = _values(overrides)
    folder = _own(plain["run"])
    if folder is not None:
        own = to_plain(read_config(folder).data)
        # Hydra's own overrides hold the choice that `_complete` added: it is the run's where the names are the same.
        if plain["data"]["name"] == own["name"]:
            plain["data"] = own
        plain["data"]["text"] = dict(own["text"])
        if name == "evaluate" and "decoder" not in values and (tuned := RunFolder(folder).read_decoder()):
            plain["decoder"] = to_plain(tuned)
        typed = from_plain(plain, roots()[name])
        for key, value in values.items():
            if key.startswith(("data.", "decoder.")):
                OmegaConf.update(typed, key, value)
    else:
        typed = from_plain(plain, roots()[name])
    return OmegaConf.to_object(typed)
