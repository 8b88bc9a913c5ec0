import pytest
import torch
from torch import nn
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    get_cosine_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from khasr.config import CosineConfig, OptimizerConfig, ScheduleConfig, TriStageConfig, WarmupHoldDecayConfig
from khasr.optim.parameters import build_optimizer, parameter_groups, parts
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


def test_schedules_equal_transformers() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = get_linear_schedule_with_warmup(optimizer, 20, 60)
    cosine = get_cosine_schedule_with_warmup(optimizer, 20, 60)
    root = get_inverse_sqrt_schedule(optimizer, 20)
    held = get_wsd_schedule(optimizer, 20, 15, num_training_steps=60, decay_type="linear")
    for theirs, options in (
        (linear, ScheduleConfig(warmup=20)),
        (cosine, CosineConfig(warmup=20)),
        (root, ScheduleConfig(name="inverse_sqrt", warmup=20)),
        (held, WarmupHoldDecayConfig(warmup=20, decay=15)),
    ):
        ours = lr_scale(options, 60)
        assert [ours(s) for s in range(61)] == pytest.approx([theirs.lr_lambdas[0](s) for s in range(61)]), options


@pytest.mark.parametrize(
    "options", [CosineConfig(warmup=4, final_scale=0.1), WarmupHoldDecayConfig(warmup=4, decay=0.5, final_scale=0.1)]
)
def test_final_scale(options: ScheduleConfig) -> None:
    scale = lr_scale(options, 20)
    assert scale(4) == 1.0
    assert scale(20) == scale(30) == pytest.approx(0.1)


def test_hold() -> None:
    seen = lrs(WarmupHoldDecayConfig(warmup=0.1, decay=0.2), 100)
    assert seen[10:81] == [1.0] * 71
    assert seen[81] < 1.0


@pytest.mark.parametrize("kind", [ScheduleConfig, CosineConfig, WarmupHoldDecayConfig, TriStageConfig])
def test_warmup_longer_than_run(kind: type[ScheduleConfig]) -> None:
    seen = lrs(kind(warmup=2000), 30)
    assert seen == sorted(seen)
    assert max(seen) < 0.03


def test_schedule_of_the_card() -> None:
    scale = lr_scale(ScheduleConfig(warmup=2000), 5475)
    assert [scale(0), scale(1000), scale(2000), scale(5475)] == [0.0, 0.5, 1.0, 0.0]


def test_warmup_fraction() -> None:
    assert lrs(ScheduleConfig(warmup=0.25), 40) == lrs(ScheduleConfig(warmup=10), 40)


def test_constant() -> None:
    assert lrs(ScheduleConfig(name="constant", warmup=2), 5) == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert lrs(ScheduleConfig(name="constant", warmup=0), 3) == [1.0, 1.0, 1.0]


def test_tri_stage() -> None:
    scale = lr_scale(TriStageConfig(), 100)
    assert scale(0) == 0.01
    assert scale(10) == scale(30) == scale(50) == 1.0
    assert scale(75) == pytest.approx(0.05**0.5)  # half-way down, exponentially
    assert scale(100) == pytest.approx(0.05)
    assert all(a <= b for a, b in zip(map(scale, range(10)), map(scale, range(1, 11)), strict=True))


def test_decayed_parameters() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[2].weight.requires_grad_(False)
    optimizer = build_optimizer(OptimizerConfig(lr=0.1, weight_decay=0.5), model)
    decayed, spared = optimizer.param_groups
    assert [p.shape for p in decayed["params"]] == [(3, 3)]
    assert len(spared["params"]) == 4
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_adam_and_adamw_decay() -> None:
    # A gradient of 0: Adam then moves by lr in the direction of the decay, AdamW by lr * decay * weight.
    moved = {}
    for name in ("adam", "adamw"):
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 2.0)
        optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.1, weight_decay=0.5), model)  # type: ignore[arg-type]
        model.weight.grad = torch.zeros_like(model.weight)
        optimizer.step()
        moved[name] = 2.0 - model.weight.item()
    assert moved == pytest.approx({"adam": 0.1, "adamw": 0.1 * 0.5 * 2.0}, rel=1e-5)


class Ctc(nn.Module):
    """An encoder of transformers with a head, with the parameter names of khasr."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(32, 3)


def xlsr(layers: int = 3, stable: bool = True) -> Ctc:
    return Ctc(Wav2Vec2Model(Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32, conv_dim=[8] * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
        do_stable_layer_norm=stable, mask_time_prob=1.0,
    )))  # fmt: skip


def lr_of(options: OptimizerConfig, model: nn.Module) -> dict[str, set[float]]:
    """The lr of each part's parameters."""
    names = {id(p): n for n, p in model.named_parameters()}
    part, found = parts(model), {}
    for group in parameter_groups(options, model):
        for parameter in group["params"]:
            found.setdefault(part[names[id(parameter)]], set()).add(group["lr"])
    return found


def test_layer_decay() -> None:
    lr = lr_of(OptimizerConfig(lr=1.0, layer_decay=0.5), xlsr())
    assert lr == {
        "head": {1.0}, "norm": {1.0}, "layer_02": {0.5}, "layer_01": {0.25}, "layer_00": {0.125},
        "input": {0.0625}, "feature_encoder": {0.0625},
    }  # fmt: skip


def test_head_lr() -> None:
    lr = lr_of(OptimizerConfig(lr=1.0, head_lr=7.0), xlsr())
    assert lr.pop("head") == {7.0}
    assert set().union(*lr.values()) == {1.0}


def test_groups_partition_parameters() -> None:
    model = xlsr()
    groups = parameter_groups(OptimizerConfig(weight_decay=0.1, layer_decay=0.9, head_lr=1e-3), model)
    assert len(groups) == 11  # the top norm; depths 1 to 4 and the head, each with and without decay
    members = [p for group in groups for p in group["params"]]
    assert len(members) == len({id(p) for p in members}) == len(list(model.parameters()))
    assert all((p.ndim > 1) == (g["weight_decay"] == 0.1) for g in groups for p in g["params"])
    assert groups[0]["layer_scale"] == 1.0
    assert [g["lr"] for g in groups[-2:]] == [1e-3, 1e-3]


def test_parts_of_other_encoders() -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    hubert = HubertModel(
        HubertConfig(**shape, conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
    )
    bert = Wav2Vec2BertModel(Wav2Vec2BertConfig(**shape))
    for encoder, more in ((hubert, {"feature_encoder"}), (bert, set())):
        assert set(parts(Ctc(encoder)).values()) - {"norm"} == {"head", "input", "layer_00", "layer_01"} | more
    # wav2vec 2.0 base and HuBERT base have their norm before the first layer.
    assert parts(xlsr(stable=False))["encoder.encoder.layer_norm.weight"] == "input"
    assert parts(Ctc(hubert))["encoder.encoder.layer_norm.weight"] == "input"
