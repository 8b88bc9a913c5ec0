"""Our training step is that of transformers' Trainer; experiments/parity has the same comparison as a table."""

from collections.abc import Callable

import pytest
import torch

from experiments.parity.parity import RECIPE, compare, quieten
from khasr.config import Config


@pytest.mark.parametrize(
    ("dtype", "accumulated", "steps", "most"),
    [(torch.float64, "mean", 50, 1e-9), (torch.float64, "sum", 15, 1e-9), (torch.float32, "mean", 15, 1e-4)],
)
def test_equals_transformers_trainer(
    compose: Callable[..., Config], dtype: torch.dtype, accumulated: str, steps: int, most: float
) -> None:
    quieten()
    found = compare(compose(*RECIPE, f"trainer.accumulated_loss={accumulated}"), dtype, steps)
    assert found["loss"] <= most
    assert found["gradient norm"] <= most
    assert found["lr"] <= 1e-9
    # A comparison of weights that do not move would show little.
    assert found["last loss"] < (0.5 if steps == 50 else 0.95) * found["first loss"]
    assert found["clipped"] == 1 if accumulated == "sum" else 0 < found["clipped"] < 1
