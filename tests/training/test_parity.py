"""Our training step is that of transformers' Trainer; experiments/parity has the same comparison as a table."""

from collections.abc import Callable

import pytest
import torch

from experiments.parity.parity import RECIPE, compare, quieten
from khasr.config import Config


@pytest.mark.parametrize(
    ("dtype", "accumulated", "most"),
    [(torch.float64, "mean", 1e-9), (torch.float64, "sum", 1e-9), (torch.float32, "mean", 1e-4)],
)
def test_equals_transformers_trainer(
    compose: Callable[..., Config], dtype: torch.dtype, accumulated: str, most: float
) -> None:
    quieten()
    found = compare(compose(*RECIPE, f"trainer.accumulated_loss={accumulated}"), dtype, steps=50)
    assert found["loss"] <= most
    assert found["gradient norm"] <= most
    assert found["lr"] <= 1e-9
    assert found["last loss"] < 0.5 * found["first loss"], "a comparison of what does not move says little"
    assert found["clipped"] == 1 if accumulated == "sum" else 0 < found["clipped"] < 1
