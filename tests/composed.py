"""Options as Hydra composes them, with one composition for each set of choices.

Hydra composes the choices first (`experiment=quickstart data=folder`) and then sets the values (`trainer.max_steps=6`).
Composing takes most of the time, and most tests have the same choices.
"""

import copy
import functools

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from khasr.cli.resume import parse_overrides
from khasr.config import CONF_DIR, Config, compose, compose_root, to_config

_choices = functools.cache(lambda *words: compose_root("train", words))
_parsed = functools.cache(lambda word: parse_overrides([word])[0])


def composed(*overrides: str) -> Config:
    """What `khasr.config.compose` returns. Raises as it does."""
    return copy.deepcopy(_composed(*overrides))


@functools.cache
def _composed(*overrides: str) -> Config:
    parsed: list[Override] = [_parsed(word) for word in overrides]
    if any(override.is_add() or override.is_delete() or override.is_sweep_override() for override in parsed):
        return compose(*overrides)
    groups = {override.key_or_group for override in parsed if (CONF_DIR / override.key_or_group).is_dir()}
    choices = [word for word, override in zip(overrides, parsed, strict=True) if override.key_or_group in groups]
    options: DictConfig = copy.deepcopy(_choices(*choices))
    try:
        for override in (override for override in parsed if override.key_or_group not in groups):
            OmegaConf.update(options, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException:
        return compose(*overrides)  # raises Hydra's error
    return to_config(options)
