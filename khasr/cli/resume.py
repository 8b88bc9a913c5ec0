"""`resume=RUN`: the folder and the options of the resumed run, some of which may be changed."""

import os
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from khasr.config import Config, from_plain, to_config, to_plain
from khasr.run.folder import RunFolder

# Options of a resumed run that may change, because they do not identify it.
_RESUMABLE = (
    "trainer.", "logger.", "decoder.", "sweep.", "score_test", "data.root", "data.cache_dir", "data.num_workers",
    "model.gradient_checkpointing", "model.compile",
)  # fmt: skip
# The position in a run is counted in batches per device; a different number of them in a step is a different run.
_NOT_RESUMABLE = ("trainer.accumulate_grad_batches", "trainer.accumulated_loss", "trainer.devices", "trainer.num_nodes")


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Overrides in Hydra's grammar, parsed.

    Raises:
        hydra.errors.OverrideParseException: one is not in the grammar.
    """
    parsed: list[Override] = OverridesParser.create().parse_overrides(list(overrides))
    return parsed


def quote(value: str) -> str:
    """A string quoted for Hydra's grammar, in which a backslash is literal unless a quote follows."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"


def into_run_folder(arguments: list[str]) -> list[str]:
    """The arguments, with Hydra's folder set to that of the resumed run or of the trial of a wandb agent.

    Raises:
        ValueError: resume= with -m.
        FileNotFoundError: resume= names no run.
    """
    for argument in arguments:
        if argument.startswith("resume=") and argument != "resume=":
            run = RunFolder.at(str(parse_overrides([argument])[0].value()))
            if {"-m", "--multirun"} & set(arguments):
                raise ValueError(
                    f"-m with resume={run.path}: a sweep starts new runs. Leave out -m to resume that run; to continue "
                    "a sweep, repeat its command."
                )
            if not run.is_run:
                raise FileNotFoundError(
                    f"resume={run.path}: no config.yaml there. Expected the folder of a run, as "
                    "`python -m khasr.train` prints it."
                )
            return [*arguments, f"hydra.run.dir={quote(str(run.path))}"]
    sweep, run_id = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    if sweep and run_id and not any(a.startswith(("hydra.run.dir=", "-m", "--multirun")) for a in arguments):
        # Named by its id, under which wandb restarts a preempted trial.
        return [*arguments, f"hydra.run.dir={quote(f'runs/wandb_{sweep}/{run_id}')}"]
    return arguments


def training_options(composed: DictConfig, overrides: list[str]) -> Config:
    """The options of a training run: the composed ones or, with resume=, those of the resumed run."""
    return _resumed(composed.resume, overrides) if composed.resume else to_config(composed)


def _resumed(folder: str, overrides: list[str]) -> Config:
    """The options of a resumed run, with the overrides that may change it.

    Raises:
        ValueError: an override that would make it a different run.
        OmegaConfBaseException: an option that does not exist.
    """
    typed = from_plain(to_plain(RunFolder.at(folder).read_config()))
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if key == "resume":
            continue
        if not key.startswith(_RESUMABLE) or key in _NOT_RESUMABLE:
            changeable = ", ".join(f"{r}*" if r.endswith(".") else r for r in _RESUMABLE)
            raise ValueError(
                f"{override.input_line} cannot be combined with resume={folder}, which continues that run with its own "
                f"options. Only {changeable} may change, each by its full name, except {', '.join(_NOT_RESUMABLE)}. "
                f"To start a new run from its weights, use model.checkpoint={folder}."
            )
        OmegaConf.update(typed, key, override.value())
    typed.resume = folder
    return to_config(typed)
