import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from khasr.config import OptimizerConfig, ScheduleConfig, TriStageConfig
from khasr.optim.parameters import build_optimizer
from khasr.optim.schedules import build_schedule, lr_scale


def lrs(options: ScheduleConfig, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(options, optimizer, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_linear_is_transformers_own() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, 20, 60).lr_lambdas[0]
    ours = lr_scale(ScheduleConfig(warmup=20), 60)
    assert [ours(s) for s in range(61)] == [theirs(s) for s in range(61)]


def test_the_card_s_lr_peaks_at_step_2000_of_5475() -> None:
    scale = lr_scale(ScheduleConfig(warmup=2000), 5475)
    assert [scale(0), scale(1000), scale(2000), scale(5475)] == [0.0, 0.5, 1.0, 0.0]


def test_warmup_below_1_is_a_share_of_the_run() -> None:
    assert lrs(ScheduleConfig(warmup=0.25), 40) == lrs(ScheduleConfig(warmup=10), 40)


def test_constant_rises_and_stays() -> None:
    assert lrs(ScheduleConfig(name="constant", warmup=2), 5) == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert lrs(ScheduleConfig(name="constant", warmup=0), 3) == [1.0, 1.0, 1.0]


def test_tri_stage_has_fairseq_s_shape() -> None:
    scale = lr_scale(TriStageConfig(), 100)
    assert scale(0) == 0.01
    assert scale(10) == scale(30) == scale(50) == 1.0
    assert scale(75) == pytest.approx(0.05**0.5)  # half-way down, exponentially
    assert scale(100) == pytest.approx(0.05)
    assert all(a <= b for a, b in zip(map(scale, range(10)), map(scale, range(1, 11)), strict=True))


def test_decay_spares_norms_and_biases_and_frozen_weights_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[2].weight.requires_grad_(False)
    optimizer = build_optimizer(OptimizerConfig(lr=0.1, weight_decay=0.5), model)
    decayed, spared = optimizer.param_groups
    assert [p.shape for p in decayed["params"]] == [(3, 3)]
    assert len(spared["params"]) == 4
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)
    assert optimizer.defaults["betas"] == (0.9, 0.999)
