"""TODO."""

import os
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from khasr.config import Config, from_plain, to_config
from khasr.run.folder import RunFolder

# What of a resumed run may be changed: not what it is, but how long, where and how it is told.
_RESUMABLE = (
    "trainer.", "logger.", "decoder.", "sweep.", "score_test", "data.root", "data.cache_dir", "data.num_workers",
)  # fmt: skip


# A place in the run is a count of batches on each device; another count of them in a step would be another run.
_NOT_RESUMABLE = ("trainer.accumulate_grad_batches", "trainer.accumulated_loss", "trainer.devices", "trainer.num_nodes")


# ------------------------------------------------------------------------------------------------------------ resuming


def _parse(overrides: list[str]) -> list[Override]:
    parsed: list[Override] = OverridesParser.create().parse_overrides(overrides)
    return parsed


def _into_own_folder(arguments: list[str]) -> list[str]:
    """The arguments, with Hydra's folder set to that of the resumed run, or of the trial of a wandb agent."""
    for argument in arguments:
        if argument.startswith("resume=") and argument != "resume=":
            folder = Path(str(_parse([argument])[0].value())).expanduser()
            if {"-m", "--multirun"} & set(arguments):
                raise ValueError(
                    f"-m with resume={folder}: a sweep makes new runs. Without -m that run goes on; the command of a "
                    "sweep, started again, goes on with all of its runs."
                )
            if not RunFolder(folder).is_run:
                raise FileNotFoundError(
                    f"resume={folder}: no config.yaml there. Expected the folder of a run, as `python -m khasr.train` "
                    "prints it."
                )
            return [*arguments, f"hydra.run.dir={quote(str(folder))}"]
    sweep, run_id = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    if sweep and run_id and not any(a.startswith(("hydra.run.dir=", "-m", "--multirun")) for a in arguments):
        # By its name: wandb starts a trial that was preempted again under it.
        return [*arguments, f"hydra.run.dir={quote(f'runs/wandb_{sweep}/{run_id}')}"]
    return arguments


def _training_options(composed: DictConfig, overrides: list[str]) -> Config:
    return _resumed(composed.resume, overrides) if composed.resume else to_config(composed)


def _resumed(folder: str, overrides: list[str]) -> Config:
    """The configuration of a run that is gone on with, changed by what may be.

    Raises:
        ValueError: an override that would make it another run.
        OmegaConfBaseException: an option that does not exist.
    """
    path = RunFolder.at(folder).config
    typed = from_plain(yaml.safe_load(path.read_text(encoding="utf-8")))
    for override in _parse(list(overrides)):
        key = override.key_or_group
        if key == "resume":
            continue
        if not key.startswith(_RESUMABLE) or key in _NOT_RESUMABLE:
            changeable = ", ".join(f"{r}*" if r.endswith(".") else r for r in _RESUMABLE)
            raise ValueError(
                f"{override.input_line} cannot go with resume={folder}, which goes on with that run as it is; only "
                f"{changeable} may change, each by its name, and not {', '.join(_NOT_RESUMABLE)}. A new run from its "
                f"weights: model.checkpoint={folder}."
            )
        OmegaConf.update(typed, key, override.value())
    typed.resume = folder
    return to_config(typed)


def quote(value: str) -> str:
    """A value as Hydra's grammar takes it, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
