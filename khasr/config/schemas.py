"""Composes options with Hydra, and converts them between dataclasses, plain dicts and OmegaConf."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from khasr.config.data_options import FolderConfig, HubConfig, MixConfig, OpenslrKmConfig, SyntheticConfig
from khasr.config.model_options import LoraConfig
from khasr.config.options import Config, EvaluateConfig, PrepareConfig, TuneConfig
from khasr.config.plain import escape_interpolations
from khasr.config.training_options import CosineConfig, TriStageConfig, WarmupHoldDecayConfig

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel has conf/ inside the package, a checkout beside it.
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"

# Choices whose options differ from those of the group's other choices, which have the group's own type.
SCHEMAS: dict[str, dict[str, type]] = {
    "data": {
        "openslr_km": OpenslrKmConfig,
        "folder": FolderConfig,
        "synthetic": SyntheticConfig,
        "hub": HubConfig,
        "fleurs_km": HubConfig,
        "dev_data_km": HubConfig,
        "mix": MixConfig,
    },
    "finetune": {"lora": LoraConfig},
    "schedule": {"tri_stage": TriStageConfig, "cosine": CosineConfig, "warmup_hold_decay": WarmupHoldDecayConfig},
}


def roots() -> dict[str, type]:
    """The options of each command, by the name of its file under conf/."""
    return {"train": Config, "prepare": PrepareConfig, "evaluate": EvaluateConfig, "tune": TuneConfig}


@functools.cache
def register_schemas() -> None:
    """Registers the types with Hydra, so that composing refuses unknown keys and values of the wrong type."""
    store = ConfigStore.instance()
    for name, root in roots().items():
        store.store(name=f"{name}_schema", node=root)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            # In a separate group, so that `data=` lists only the choices that are files under conf/.
            store.store(group=f"schema/{group}", name=name, node=schema)


def compose(*overrides: str) -> Config:
    """The options of a training run, as `python -m khasr.train *overrides` composes them.

    Raises:
        hydra.errors.HydraException: an override that names no option or choice.
        omegaconf.errors.OmegaConfBaseException: a value of the wrong type.
    """
    return to_config(compose_root("train", overrides))


def compose_root(root: str, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
    """The untyped composition of a file directly under conf/, by its name; `with_hydra` keeps Hydra's own section."""
    register_schemas()
    with hydra.initialize_config_dir(str(CONF_DIR)):
        return hydra.compose(root, overrides=list(overrides), return_hydra_config=with_hydra)


def to_config(composed: DictConfig) -> Config:
    """Typed options of a training run from what Hydra composed.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a key or value that the schema does not have (`+key=` gets past Hydra).
    """
    config = cast(Config, to_options(composed, Config))
    if config.data.train_hours is not None and config.data.subset_seed is None:
        config.data.subset_seed = config.seed  # evaluate and build_lm read the same subset, without the run's seed
    return config


def to_options(composed: DictConfig, root: type) -> Any:
    """Typed options of a command, by its type in `roots`, from what Hydra composed. Raises as `to_config`."""
    plain = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    return OmegaConf.to_object(from_plain(plain, root))


def to_plain(config: Any) -> dict[str, Any]:
    """All options, or a section of them, as dicts of plain values."""
    return dataclasses.asdict(config)


def from_plain(plain: dict[str, Any], root: type = Config) -> DictConfig:
    """The typed form of what `to_plain` returned, with the schemas of the choices that it names.

    Strings stay as they are: `${...}` in saved options is text and is not resolved.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a key or value that the schema does not have.
    """
    choices = set()
    for group in SCHEMAS.keys() & {option.name for option in dataclasses.fields(root)}:
        section = plain.get(group)
        name = section.get("name") if isinstance(section, dict) else None
        schema = SCHEMAS[group].get(name) if isinstance(name, str) else None
        if schema is not None:
            choices.add((group, schema))
    typed = _typed(root, frozenset(choices))
    return cast(DictConfig, OmegaConf.merge(typed, OmegaConf.create(escape_interpolations(plain))))


@functools.cache
def _typed(root: type, choices: frozenset[tuple[str, type]]) -> DictConfig:
    """The default options of a command with the schemas of some choices, which take longest to make. Never changed."""
    typed: DictConfig = OmegaConf.structured(root)
    for group, schema in choices:
        typed[group] = OmegaConf.structured(schema)
    return typed
