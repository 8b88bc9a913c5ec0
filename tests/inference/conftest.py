"""Small Hugging Face models with random weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2ForCTC

SHAPE: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "pad_token_id": 0,
    "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True,
}  # fmt: skip


def write_model(folder: Path, letters: str, **preprocessor: Any) -> Path:
    """A Hugging Face CTC folder with random weights."""
    torch.manual_seed(0)
    symbols = ["<pad>", "<unk>", "|", *letters]
    Wav2Vec2ForCTC(Wav2Vec2Config(**SHAPE, vocab_size=len(symbols))).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({s: i for i, s in enumerate(symbols)}), encoding="utf-8")
    Wav2Vec2CTCTokenizer(folder / "vocab.json", pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    if preprocessor:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "hf", "កខគងច")
