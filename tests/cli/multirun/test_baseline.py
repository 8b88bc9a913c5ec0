"""The baseline that several sweep files share."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from khasr.config import Config
from tests.cli.multirun.conftest import ROOT

# The option that a file varies, and the value of the card, which the file leaves to baseline.yaml.
LEFT_OUT = {
    "h2_updates": ("trainer.max_steps", 5475),
    "h3_masks": ("experiment", "card_1b"),
    "h4_frozen_first": ("finetune.freeze_encoder_steps", 0),
    "h6_precision": ("precision", "fp16"),
    "h7_audio_per_update": ("trainer.accumulate_grad_batches", 4),
}


def first_values(name: str, **changed: Any) -> list[str]:
    """The overrides of a file's first run, with some values replaced."""
    parameters = yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8"))["parameters"]
    values = {key: options.get("value", options.get("values", [None])[0]) for key, options in parameters.items()}
    return [f"{key}={value}" for key, value in (values | changed).items() if key != "logger"]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_baseline(compose: Callable[..., Config], name: str) -> None:
    """With the card's value each file has the options of the baseline, and it does not repeat that run."""
    option, value = LEFT_OUT[name]
    assert f"{option}={value}" not in first_values(name)
    assert compose(*first_values(name, **{option: value})) == compose(*first_values("baseline"))
