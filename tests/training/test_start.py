"""Runs that start from the weights of an earlier run or of a Hugging Face folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from khasr.config import Config
from khasr.model.weights import check_weights, load_start
from khasr.run.folder import RunFolder
from khasr.training.fit import fit
from tests.small_runs import Small, read_results, same


def test_start_from_run(finished: Path, small: Small, tmp_path: Path) -> None:
    changes = [f"model.checkpoint='{finished}'", "trainer.max_steps=1", "optimizer.lr=0"]
    fit(small(*changes), RunFolder(tmp_path / "kept"))
    best = torch.load(finished / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    kept = torch.load(tmp_path / "kept/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    same(kept, best)
    fit(small(*changes, "model.head=new"), RunFolder(tmp_path / "new"))
    new = torch.load(tmp_path / "new/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    for name, weight in new.items():
        assert torch.equal(weight, best[name]) == (name != "model.head.weight" and name != "model.head.bias"), name


def test_keep_head_of_random_weights(small: Small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.head=keep.*random weights"):
        fit(small("model.head=keep"), RunFolder(tmp_path))


def test_keep_head_missing_symbol(finished: Path, small: Small, tmp_path: Path, corpus: Path) -> None:
    import shutil

    root = tmp_path / "corpus"
    shutil.copytree(corpus, root)
    table = root / "utterances.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("ក", "ឃ"), encoding="utf-8")
    changes = [f"model.checkpoint='{finished}'", f"data.root='{root}'"]
    with pytest.raises(ValueError, match=r"'ឃ' \(U\+1783\).*model\.head=new"):
        fit(small(*changes, "model.head=keep"), RunFolder(tmp_path / "a"))
    results = fit(small(*changes), RunFolder(tmp_path / "b"))  # auto: the vocabularies differ, so the head is new
    assert results["status"] == "completed"


def test_weights_not_found(compose: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    config = compose("model=xlsr_1b", "model.checkpoint=facebook/no-such-model")
    with pytest.raises(FileNotFoundError) as caught:
        fit(config, RunFolder(tmp_path / "run"))
    message = str(caught.value)
    assert "\n" not in message
    for piece in ("facebook/no-such-model", "model.checkpoint=DIR", "model.init=random"):
        assert piece in message
    assert read_results(tmp_path / "run")["status"] == "failed"


def test_hugging_face_folder(compose: Callable[..., Config], tmp_path: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    shape: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer", "do_stable_layer_norm": True, "codevector_dim": 8, "proj_codevector_dim": 8,
    }  # fmt: skip
    theirs = Wav2Vec2ForPreTraining(Wav2Vec2Config(**shape))
    theirs.save_pretrained(tmp_path / "w2v")
    start = load_start(compose("model.checkpoint=" + str(tmp_path / "w2v")).model)
    same(dict(start.encoder.state_dict()), dict(theirs.wav2vec2.state_dict()))
    (tmp_path / "w2v/model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights\. Set model\.checkpoint=DIR"):
        check_weights(compose("model.checkpoint=" + str(tmp_path / "w2v")).model)
