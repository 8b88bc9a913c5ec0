"""Weight files that are damaged or unusable, and folders with Python code."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

from khasr.config import ModelConfig
from khasr.model.weights import check_weights, load_start
from tests.commands import Commands
from tests.model.test_weights import CONFIGS

REPOSITORY = Path(__file__).resolve().parents[2]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _change(path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    weights = load_file(path)
    weights["feature_projection.projection.weight"] = change(weights["feature_projection.projection.weight"])
    save_file(weights, path, {"format": "pt"})


def _as_bin(path: Path) -> Path:
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()
    return path.with_name("pytorch_model.bin")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "safetensors cut": (_cut, "not a complete file of weights"),
    "safetensors empty": (lambda path: path.write_bytes(b""), "not a complete file of weights"),
    "bin cut": (lambda path: _cut(_as_bin(path)), "not a complete file of weights"),
    "bin empty": (lambda path: _as_bin(path).write_bytes(b""), "not a complete file of weights"),
    "bin is text": (lambda path: _as_bin(path).write_text("weights"), "not a complete file of weights"),
    "NaN": (lambda path: _change(path, lambda w: w * torch.nan), "not finite"),
    "infinite": (lambda path: _change(path, lambda w: w / 0), "not finite"),
    "integers": (lambda path: _change(path, lambda w: w.to(torch.int32)), r"is torch\.int32; expected torch\.float32"),
    "float64": (lambda path: _change(path, lambda w: w.double()), r"is torch\.float64; expected torch\.float32"),
}


def test_ignored_checkpoint(tmp_path: Path) -> None:
    """A folder of weights with model.init=random is an error; a choice's own id on the hub is not."""
    with pytest.raises(
        ValueError, match=r"would not be used: model\.init=random, which model=tiny sets\. model\.init=pre"
    ):
        check_weights(ModelConfig(checkpoint=str(tmp_path), init="random"))
    check_weights(ModelConfig(init="random"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_refused(damage: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    Wav2Vec2Model(CONFIGS["wav2vec2"]()).save_pretrained(tmp_path)
    change, message = DAMAGES[damage]
    change(tmp_path / "model.safetensors")
    options = ModelConfig(checkpoint=str(tmp_path), gradient_checkpointing=False)
    with pytest.raises(ValueError, match=message) as caught:
        load_start(options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["evilx", "wav2vec2"])
def test_remote_code(kind: str, command: Commands, tmp_path: Path) -> None:
    """A Python file in a model's folder is not run, regardless of standard input."""
    folder = tmp_path / "model"
    config: Wav2Vec2Config = CONFIGS["wav2vec2"]()
    Wav2Vec2Model(config).save_pretrained(folder)
    code = {
        "AutoConfig": "evil.C",
        "AutoModel": "evil.M",
        "AutoModelForCTC": "evil.M",
        "AutoTokenizer": ["evil.T", None],
    }
    changed = json.loads((folder / "config.json").read_text()) | {"model_type": kind, "auto_map": code}
    (folder / "config.json").write_text(json.dumps(changed | {"architectures": ["Wav2Vec2ForCTC"]}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": code, "tokenizer_class": "T"}))
    (folder / "vocab.json").write_text(json.dumps({"<pad>": 0, "a": 1}))
    marker = tmp_path / "code_ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass C: pass\nclass M: pass\nclass T: pass\n")
    script = (
        "from khasr.config import ModelConfig\nfrom khasr.model.weights import check_weights, load_start\n"
        f"options = ModelConfig(checkpoint={str(folder)!r})\ncheck_weights(options)\nload_start(options)\n"
    )
    done = subprocess.run(
        [command.python, "-c", script], input="y\n" * 9, text=True, capture_output=True, cwd=REPOSITORY, timeout=300
    )
    assert not marker.exists()
    assert (done.returncode == 0) == (kind == "wav2vec2"), done.stderr
    if kind == "evilx":
        with pytest.raises(ValueError, match=r"config\.json") as caught:
            check_weights(ModelConfig(checkpoint=str(folder)))
        assert "\n" not in str(caught.value)
