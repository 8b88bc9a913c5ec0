import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2ForPreTraining

from khasr.config import ArchitectureConfig, FinetuneConfig, LoraConfig, ModelConfig
from khasr.model.ctc import CtcModel
from khasr.model.finetune import apply_finetune
from khasr.model.weights import load_start, start_files
from khasr.optim.parameters import parts
from khasr.training import diagnostics
from khasr.training.diagnostics import StartWeights, UpdateRatios, clip_gradients, count_blanks

SHAPE = ArchitectureConfig(
    hidden_size=48, layers=3, heads=2, intermediate_size=96, conv_dim=[16] * 7, pos_conv_kernel=8, pos_conv_groups=2
)
RANDOM = ModelConfig(init="random", checkpoint=None, architecture=SHAPE, gradient_checkpointing=False)


def build(options: ModelConfig = RANDOM) -> CtcModel:
    torch.manual_seed(0)
    return CtcModel(load_start(options).encoder, 7, options)


@pytest.fixture
def pretrained(tmp_path: Path) -> ModelConfig:
    """A Hugging Face folder like that of a pretrained checkpoint: names have a prefix, and some weights are not used."""
    config = build().encoder.config
    config.update({"codevector_dim": 8, "proj_codevector_dim": 8})
    Wav2Vec2ForPreTraining(config).save_pretrained(tmp_path / "w2v")
    return ModelConfig(checkpoint=str(tmp_path / "w2v"), gradient_checkpointing=False)


def backward(model: CtcModel) -> None:
    log_probs, _ = model.eval()(torch.randn(2, 4000), torch.tensor([4000, 3000]))
    (100 * log_probs[:, :, 1].sum()).backward()


def test_count_blanks() -> None:
    log_probs = torch.zeros(2, 4, 3)
    log_probs[0, :3, 0] = 1.0  # three blanks and a symbol
    log_probs[0, 3, 2] = 1.0
    log_probs[1, :, 0] = 1.0  # all blank, of which two frames are padding
    assert count_blanks(log_probs, torch.tensor([4, 2])).item() == 5


@pytest.mark.parametrize("largest", [1.0, 0.0, 1e9])
def test_clip_gradients(largest: float) -> None:
    model = build()
    apply_finetune(model, FinetuneConfig(), RANDOM)  # its feature encoder has no gradient
    backward(model)
    theirs = copy.deepcopy(model)
    for ours, other in zip(model.parameters(), theirs.parameters(), strict=True):
        other.grad = None if ours.grad is None else ours.grad.clone()
    norms = clip_gradients(model, parts(model), largest)
    whole = torch.nn.utils.clip_grad_norm_(theirs.parameters(), largest or float("inf"))
    assert norms[0].item() == whole.item() > 1
    for ours, other in zip(model.parameters(), theirs.parameters(), strict=True):
        assert (ours.grad is None) == (other.grad is None)
        assert ours.grad is None or torch.equal(ours.grad, other.grad)  # type: ignore[arg-type]
    by_part = dict(zip(sorted(set(parts(model).values())), norms[1:].tolist(), strict=True))
    assert set(by_part) == {"feature_encoder", "input", "layer_00", "layer_01", "layer_02", "norm", "head"}
    assert sum(norm**2 for norm in by_part.values()) == pytest.approx(whole.item() ** 2, rel=1e-5)
    assert by_part["feature_encoder"] == 0.0
    assert all(norm > 0 for part, norm in by_part.items() if part != "feature_encoder")


def test_update_ratios() -> None:
    model = build()
    part = parts(model)
    ratios = UpdateRatios(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ratios.before_step()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part[name] == "layer_01":
                parameter.mul_(1.001)
            elif part[name] != "norm":
                parameter.add_(0.003 * torch.randn_like(parameter))
    measured = ratios.after_step()
    assert measured["update_ratio/layer_01"] == pytest.approx(1e-3, rel=1e-3)
    assert measured["update_ratio/norm"] == 0.0
    for wanted in set(part.values()) - {"norm"}:
        pairs = [(p - before[n], before[n]) for n, p in model.named_parameters() if part[n] == wanted]
        update, weights = (torch.cat([pair[i].flatten() for pair in pairs]).norm().item() for i in (0, 1))
        assert measured[f"update_ratio/{wanted}"] == pytest.approx(update / weights, rel=0.1), wanted


def grown(model: CtcModel, factor: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)


@pytest.mark.parametrize("kind", ["safetensors", "bin, older names", "no file"])
def test_drift(pretrained: ModelConfig, tmp_path: Path, kind: str) -> None:
    folder = Path(str(pretrained.checkpoint))
    model = build(RANDOM if kind == "no file" else pretrained)
    if kind.startswith("bin"):
        older = {"original0": "weight_g", "original1": "weight_v"}
        weights = {
            name.replace("parametrizations.weight." + name[-9:], older[name[-9:]]) if name[-9:] in older else name: w
            for name, w in load_file(folder / "model.safetensors").items()
        }
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    # A layer that differs from the pretrained one.
    apply_finetune(model, FinetuneConfig(reinit_layers=1), pretrained)
    files = start_files(RANDOM if kind == "no file" else pretrained)
    assert len(files) == (kind != "no file")
    start = StartWeights(files, tmp_path / "run/start.ckpt", model)
    start.write_own(model)
    own = torch.load(tmp_path / "run/start.ckpt", weights_only=True)
    held = {parts(model)[name] for name in own}
    if kind == "no file":
        assert set(own) == set(model.state_dict())
    else:
        assert held == {"head", "layer_02"}
        # Weights of the new layer that equal the pretrained ones, such as its norms, are not written.
        assert 8 <= len(own) < len(list(model.parameters())) / 3
    assert set(start.drift(model).values()) == {0.0}
    grown(model, 1.25)
    again = StartWeights(files, tmp_path / "run/start.ckpt", model)  # as in a resumed run
    drift = again.drift(model)
    assert set(drift) == {f"drift/{part}" for part in parts(model).values()}
    assert drift == pytest.approx(dict.fromkeys(drift, 0.25), rel=1e-4)


@pytest.mark.parametrize("content", [b"", b"text", bytes(500)])
def test_damaged_start(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resumed run continues without the drift, and says so once."""
    model = build()
    (tmp_path / "start.ckpt").write_bytes(content)
    start = StartWeights([], tmp_path / "start.ckpt", model)
    assert [start.drift(model) for _ in range(2)] == [{}, {}]
    assert capsys.readouterr().err.count("start.ckpt is damaged; the distance of the weights") == 1


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="only Linux lists mapped files")
def test_start_weights_memory_mapped(pretrained: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    torch.save(load_file(Path(str(pretrained.checkpoint)) / "model.safetensors"), tmp_path / "w.bin")
    files = [*start_files(pretrained), tmp_path / "w.bin"]
    start = StartWeights(files, tmp_path / "start.ckpt", model)
    start.write_own(model)

    def mapped() -> list[bool]:
        maps = Path("/proc/self/maps").read_text()
        return [f" {file}\n" in maps for file in (*files, tmp_path / "start.ckpt")]

    read, seen = StartWeights._read_pretrained, []
    monkeypatch.setattr(StartWeights, "_read_pretrained", lambda *a: seen.append(mapped()) or read(*a))
    del model.encoder.masked_spec_embed  # start.ckpt is read first
    model.encoder.register_parameter("added", torch.nn.Parameter(torch.ones(2)))
    start.drift(model)
    assert seen
    assert all(all(files) for files in seen)
    assert not any(mapped())


def test_start_weights_opened_again(pretrained: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are opened again after so many bytes, not for each part, and the drift is the same."""
    model = build()
    start = StartWeights(start_files(pretrained), tmp_path / "start.ckpt", model)
    start.write_own(model)
    torch.nn.init.normal_(model.encoder.encoder.layers[1].attention.q_proj.weight)
    opened: list[Path] = []
    monkeypatch.setattr(diagnostics, "_open", lambda path, _open=diagnostics._open: opened.append(path) or _open(path))
    drift = start.drift(model)
    assert drift["drift/layer_01"] > 0
    assert opened.count(tmp_path / "start.ckpt") == 1
    monkeypatch.setattr(StartWeights, "_MAPPED", 1)
    assert start.drift(model) == drift
    assert opened.count(tmp_path / "start.ckpt") == 1 + len(model.state_dict())


def test_drift_of_adapters(pretrained: ModelConfig, tmp_path: Path) -> None:
    model = build(pretrained)
    apply_finetune(model, LoraConfig(rank=2, alpha=4.0, modules=["q_proj"]), pretrained)
    start = StartWeights(start_files(pretrained), tmp_path / "start.ckpt", model)
    start.write_own(model)
    assert set(torch.load(tmp_path / "start.ckpt", weights_only=True)) == {"head.weight", "head.bias"}
    assert set(start.drift(model).values()) == {0.0}
    layer = model.encoder.encoder.layers[1].attention.q_proj
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    drift = start.drift(model)
    moved = 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    whole = torch.cat([w.flatten() for n, w in build(pretrained).state_dict().items() if "encoder.layers.1." in n])
    assert drift["drift/layer_01"] == pytest.approx((moved.norm() / whole.norm()).item(), rel=1e-4)
    assert drift["drift/layer_00"] == 0.0


def test_drift_without_start(pretrained: ModelConfig, tmp_path: Path) -> None:
    model = build(pretrained)
    StartWeights(start_files(pretrained), tmp_path / "start.ckpt", model).write_own(model)
    (Path(str(pretrained.checkpoint)) / "model.safetensors").unlink()
    assert set(StartWeights(start_files(pretrained), tmp_path / "start.ckpt", model).drift(model)) == {"drift/head"}


def test_drift_from_shards(pretrained: ModelConfig, tmp_path: Path) -> None:
    model = build(pretrained)
    whole = Path(str(pretrained.checkpoint)) / "model.safetensors"
    weights = load_file(whole)
    names = sorted(weights)
    for i, half in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in half}, whole.with_name(f"model-0000{i + 1}-of-00002.safetensors"))
    whole.unlink()
    start = StartWeights(start_files(pretrained), tmp_path / "start.ckpt", model)
    start.write_own(model)
    assert set(torch.load(tmp_path / "start.ckpt", weights_only=True)) == {"head.weight", "head.bias"}
