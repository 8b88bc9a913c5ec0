"""TODO."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from khasr.config.options import (
    Config,
    CosineConfig,
    EvaluateConfig,
    FolderConfig,
    HubConfig,
    LoraConfig,
    MixConfig,
    OpenslrKmConfig,
    SyntheticConfig,
    TriStageConfig,
    TuneConfig,
    WarmupHoldDecayConfig,
)

_PACKAGE = Path(__file__).resolve().parents[1]


# Inside a wheel conf/ lies in the package; in a checkout beside it.
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


# Choices of a group whose options differ from those of the group's other choices; all others have the group's own.
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


def register_schemas() -> None:
    """Tells Hydra the types, so that a mistyped key or value is refused when the configuration is composed."""
    store = ConfigStore.instance()
    # replace: called once more in a process, it says the same.
    for name, root in roots().items():
        store.store(name=f"{name}_schema", node=root, replace=True)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            # In a group of its own, so that `data=` lists only the choices that are files under conf/.
            store.store(group=f"schema/{group}", name=name, node=schema, replace=True)


def compose(*overrides: str) -> Config:
    """The options of a training run, as `python -m khasr.train *overrides` has them.

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
    """Typed options from what Hydra composed; the one place where a DictConfig ends.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a key or value that the schema does not have (Hydra lets `+key=` pass).
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    return cast(Config, OmegaConf.to_object(from_plain(plain)))


def roots() -> dict[str, type]:
    """Each command's options, by the name of its file under conf/."""
    return {"train": Config, "evaluate": EvaluateConfig, "tune": TuneConfig}


def to_plain(config: Any) -> dict[str, Any]:
    """Any section, or the whole, as dicts of plain values."""
    return dataclasses.asdict(config)


def from_plain(plain: dict[str, Any], root: type = Config) -> DictConfig:
    """What `to_plain` wrote, typed again: the schemas of the choices named in it.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a key or value that the schema does not have.
    """
    typed = OmegaConf.structured(root)
    for group in SCHEMAS.keys() & {option.name for option in dataclasses.fields(root)}:
        schema = SCHEMAS[group].get(plain.get(group, {}).get("name"))
        if schema is not None:
            typed[group] = OmegaConf.structured(schema)
    return cast(DictConfig, OmegaConf.merge(typed, OmegaConf.create(plain)))
