import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from khasr.config import ArchitectureConfig, Config, FinetuneConfig, LoraConfig, ModelConfig
from khasr.model.ctc import CtcModel
from khasr.model.finetune import apply_finetune, encoder_layers, plain_weights, remove_adapters
from khasr.model.weights import load_start
from khasr.run.folder import RunFolder
from khasr.training.fit import fit
from tests.small_runs import RANDOM, read_results, same, stop_after

SHAPE = ArchitectureConfig(
    hidden_size=32, layers=3, heads=2, intermediate_size=64, conv_dim=[16] * 7, pos_conv_kernel=8, pos_conv_groups=2
)
OPTIONS = ModelConfig(init="random", checkpoint=None, architecture=SHAPE, gradient_checkpointing=False)
Small = Callable[..., Config]


def build() -> CtcModel:
    torch.manual_seed(0)
    return CtcModel(load_start(OPTIONS).encoder, 7, OPTIONS).eval()


def trained_names(model: CtcModel) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def test_trained_parameters() -> None:
    model = build()
    note = apply_finetune(model, FinetuneConfig(freeze_feature_encoder=False), OPTIONS)
    total = sum(p.numel() for p in model.parameters())
    assert note == f"{total:,} of {total:,} parameters are trained (100.0%)"
    apply_finetune(model, FinetuneConfig(), OPTIONS)
    frozen = {n for n, _ in model.named_parameters()} - trained_names(model)
    assert frozen == {n for n, _ in model.named_parameters() if "feature_extractor" in n}


def test_drop_layers() -> None:
    model, whole = build(), build()
    note = apply_finetune(model, FinetuneConfig(drop_layers=1), OPTIONS)
    assert note.startswith("top layers dropped: 1; layers left: 2\n")
    assert model.encoder.config.num_hidden_layers == len(encoder_layers(model.encoder)) == 2
    for ours, theirs in zip(encoder_layers(model.encoder), encoder_layers(whole.encoder), strict=False):
        same(dict(ours.state_dict()), dict(theirs.state_dict()))
    with pytest.raises(ValueError, match=r"drop_layers=3: the encoder has 3 layers"):
        apply_finetune(build(), FinetuneConfig(drop_layers=3), OPTIONS)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_reinit_layers(count: int) -> None:
    model, before = build(), build()
    for parameter in model.encoder.parameters():
        parameter.data += 1.0  # as if pretrained
        parameter._is_hf_initialized = True  # type: ignore[attr-defined]  # transformers does not reinitialise these
    before = copy.deepcopy(model)
    apply_finetune(model, FinetuneConfig(reinit_layers=count), OPTIONS)
    layers, old = encoder_layers(model.encoder), encoder_layers(before.encoder)
    for index in range(3):
        weight, was = (m[index].feed_forward.output_dense.weight for m in (layers, old))
        if index < 3 - count:
            assert torch.equal(weight, was)
        else:
            assert weight.std().item() == pytest.approx(0.02, rel=0.1)  # initializer_range
            assert abs(weight.mean().item()) < 0.005
            assert layers[index].layer_norm.weight.eq(1).all()
    firsts = {tuple(layer.attention.q_proj.weight[0].tolist()) for layer in layers}
    assert len(firsts) == 3
    same(dict(model.encoder.feature_extractor.state_dict()), dict(before.encoder.feature_extractor.state_dict()))
    with pytest.raises(ValueError, match="reinit_layers=4"):
        apply_finetune(build(), FinetuneConfig(reinit_layers=4), OPTIONS)


# ------------------------------------------------------------------------------------------------------- frozen at first


def test_encoder_frozen_first(small: Small, tmp_path: Path) -> None:
    changes = [
        "finetune.freeze_encoder_steps=3",
        "trainer.max_steps=5",
        "trainer.val_every_steps=3",
        "optimizer.weight_decay=0.1",
    ]
    fit(small(*changes), RunFolder(tmp_path / "run"))
    # `best` is from step 3 or 5; the weights at step 3 equal those of a run of 3 steps.
    fit(small(*changes, "trainer.max_steps=3", "schedule=constant"), RunFolder(tmp_path / "frozen"))
    fit(small(*changes, "trainer.max_steps=1", "schedule=constant", "optimizer.lr=0"), RunFolder(tmp_path / "start"))
    start, frozen, last = (checkpoint(tmp_path / n, "last")["state_dict"] for n in ("start", "frozen", "run"))
    moved = {n for n in start if not torch.equal(start[n], frozen[n])}
    assert moved == {"model.head.weight", "model.head.bias"}
    moved = {n for n in start if not torch.equal(start[n], last[n])}
    assert len(moved) > 0.9 * len(start)
    steps = checkpoint(tmp_path / "run", "last")["optimizer_states"][0]["state"]
    assert {int(s["step"]) for s in steps.values()} == {2, 5}


def test_frozen_steps_printed(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(small("finetune.freeze_encoder_steps=0.5"), RunFolder(tmp_path))
    assert "6 steps, 0.9 epochs; warm-up of 1 step; the encoder is frozen for the first 3" in capsys.readouterr().out


# Options whose state a resumed run has to restore.
STATEFUL = {
    "frozen": ["finetune.freeze_encoder_steps=6"],
    "layers": ["finetune.drop_layers=1", "finetune.reinit_layers=1", "optimizer.layer_decay=0.8", "optimizer.head_lr=0.01"],
    "kept features": ["finetune=feature_encoder_frozen", "data.augment.speed=[]"],
    "averaged": ["optimizer.ema_decay=0.9", "optimizer.average_checkpoints=2"],
    "lora": ["finetune=lora", "finetune.rank=2", "optimizer.ema_decay=0.9"],
}  # fmt: skip


@pytest.mark.parametrize("option", STATEFUL)
def test_resume(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    import signal

    from khasr.run.interrupts import Interrupted

    changes = [*RANDOM, *STATEFUL[option]]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(small(*changes), RunFolder(whole))
    for batches in (8, 15):  # before and after the encoder is trained
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            stop_after(patch, batches, signal.SIGTERM)
            config = small(*changes)
            config.resume = str(parts) if (parts / "checkpoints").is_dir() else None
            fit(config, RunFolder(parts))
    config = small(*changes)
    config.resume = str(parts)
    fit(config, RunFolder(parts))
    for name in ("last", "best"):
        ours, theirs = checkpoint(parts, name), checkpoint(whole, name)
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "window", "average"):
            same(ours.get(key), theirs.get(key), key)
    assert read_results(parts)["val"] == read_results(whole)["val"]


# ------------------------------------------------------------------------------------------------------------- adapters


def test_adapters() -> None:
    model, plain = build(), build()
    note = apply_finetune(model, LoraConfig(rank=4), OPTIONS)
    assert note.startswith("adapters of rank 4 beside 6 linear layers (q_proj, v_proj)\n")
    names = trained_names(model)
    assert all("lora_" in n or n.startswith("head.") for n in names)
    assert len(names) == 6 * 2 + 2
    waveforms, lengths = torch.randn(2, 4000), torch.tensor([4000, 3000])
    torch.testing.assert_close(model(waveforms, lengths)[0], plain(waveforms, lengths)[0])


def test_merged_adapters() -> None:
    model = build()
    apply_finetune(model, LoraConfig(rank=4, alpha=12.0, modules=["k_proj", "output_dense"]), OPTIONS)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    waveforms, lengths = torch.randn(2, 4000), torch.tensor([4000, 3000])
    adapted = model(waveforms, lengths)[0]
    weights = dict(plain_weights(model.state_dict(), model.adapter_scale))
    remove_adapters(model)
    assert not torch.allclose(model(waveforms, lengths)[0], adapted, atol=1e-2)
    model.load_state_dict(weights)
    torch.testing.assert_close(model(waveforms, lengths)[0], adapted, atol=1e-4, rtol=1e-4)


def test_unknown_module() -> None:
    with pytest.raises(ValueError, match=r"no linear layer qq; there are intermediate_dense, k_proj, out_proj.*v_proj"):
        apply_finetune(build(), LoraConfig(modules=["qq", "q_proj"]), OPTIONS)


def test_lora_best_checkpoint(finished: Path, small: Small, tmp_path: Path) -> None:
    changes = [f"model.checkpoint='{finished}'", "finetune=lora", "optimizer.lr=1e-2", "trainer.max_steps=4"]
    results = fit(small(*changes), RunFolder(tmp_path / "run"))
    best, start = checkpoint(tmp_path / "run", "best"), checkpoint(finished, "best")
    assert set(best["state_dict"]) == set(start["state_dict"])
    changed = {n for n in best["state_dict"] if not torch.equal(best["state_dict"][n], start["state_dict"][n])}
    assert changed == {n for n in changed if "q_proj.weight" in n or "v_proj.weight" in n or "head" in n}
    assert any("q_proj" in n for n in changed)
    # best.ckpt has the scored weights: a run that starts from it, with an lr of 0, has the same scores.
    again = fit(
        small(f"model.checkpoint='{tmp_path / 'run'}'", "optimizer.lr=0", "trainer.max_steps=1"),
        RunFolder(tmp_path / "again"),
    )
    assert again["val"] == results["val"]
    # Without best.ckpt, last.ckpt is used, with its adapters merged.
    (tmp_path / "run/checkpoints/best.ckpt").unlink()
    start_again = load_start(small(f"model.checkpoint='{tmp_path / 'run'}'").model)
    assert not any("lora" in n for n in start_again.encoder.state_dict())
