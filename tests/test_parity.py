"""Our training step is that of transformers' Trainer; experiments/parity has the same comparison as a table."""

import pytest
import torch

from experiments.parity.parity import compare, quieten


@pytest.mark.parametrize(
    ("dtype", "accumulated", "most"),
    [(torch.float64, "mean", 1e-9), (torch.float64, "sum", 1e-9), (torch.float32, "mean", 1e-4)],
)
def test_loss_gradient_norm_and_lr_of_50_steps_are_those_of_transformers_trainer(
    dtype: torch.dtype, accumulated: str, most: float
) -> None:
    quieten()
    found = compare(dtype, accumulated, steps=50)
    assert found["loss"] <= most
    assert found["gradient norm"] <= most
    assert found["lr"] <= 1e-9
    assert found["last loss"] < 0.5 * found["first loss"], "a comparison of what does not move says little"
    assert found["clipped"] == 1 if accumulated == "sum" else 0 < found["clipped"] < 1
