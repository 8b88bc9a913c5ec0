"""Loading checkpoints of the Hugging Face hub: a small random encoder of each kind is saved and loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    HubertConfig,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    WavLMConfig,
    WhisperConfig,
)

from khasr.config import Config, ModelConfig
from khasr.data.audio import standardise
from khasr.model.ctc import CtcModel
from khasr.model.encoders import KINDS, mel_features
from khasr.model.weights import build_model, check_weights, load_start
from khasr.run.folder import RunFolder
from khasr.text.vocabulary import Vocabulary
from khasr.training.fit import fit

SHAPE: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 7,
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "pad_token_id": 0,
    "num_codevectors_per_group": 4, "codevector_dim": 8, "proj_codevector_dim": 8, "num_codevector_groups": 2,
}  # fmt: skip
LARGE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
CONFIGS: dict[str, Any] = {
    "wav2vec2": lambda: Wav2Vec2Config(**SHAPE, **LARGE),
    "wav2vec2 base": lambda: Wav2Vec2Config(**SHAPE),
    "hubert": lambda: HubertConfig(**SHAPE, **LARGE),
    "wavlm": lambda: WavLMConfig(**SHAPE, **LARGE),
    "wav2vec2-bert": lambda: Wav2Vec2BertConfig(**SHAPE, conv_depthwise_kernel_size=7),
}
VOCABULARY = {"<pad>": 0, "[UNK]": 1, "|": 2, "ក": 3, "ខ": 4, "គ": 5, "ង": 6}


def save(model: PreTrainedModel, folder: Path, vocabulary: dict[str, int] | None = None) -> Path:
    model.save_pretrained(folder)
    if vocabulary is not None:
        (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        Wav2Vec2CTCTokenizer(folder / "vocab.json", unk_token="[UNK]", pad_token="<pad>").save_pretrained(folder)
    return folder


def load(folder: Path, **changes: Any) -> tuple[CtcModel, Vocabulary, str]:
    options = ModelConfig(checkpoint=str(folder), gradient_checkpointing=False, **changes)
    check_weights(options)
    return build_model(load_start(options), Vocabulary.of_texts(["កខ គង"]), options, options.head)


def waves(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.from_numpy(standardise(torch.randn(n, generator=generator).numpy())) for n in lengths]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(lengths)


@pytest.mark.parametrize("kind", CONFIGS)
def test_same_as_transformers(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CONFIGS[kind]()
    theirs = KINDS[config.model_type].ctc(config).eval()
    ours, vocabulary, note = load(save(theirs, tmp_path, VOCABULARY))
    assert vocabulary.symbols == ["<blank>", "<unk>", " ", "ក", "ខ", "គ", "ង"]
    assert note.endswith("nothing in the encoder is new; its head kept")
    batch, lengths = waves(16_000, 9_333) if kind != "wav2vec2 base" else waves(16_000, 16_000)
    with torch.inference_mode():
        log_probs, frames = ours.eval()(batch, lengths)
        if kind == "wav2vec2-bert":
            extractor = SeamlessM4TFeatureExtractor()
            raw = [row[:n].numpy() for row, n in zip(batch, lengths.tolist(), strict=True)]
            logits = theirs(**extractor(raw, sampling_rate=16_000, return_tensors="pt")).logits
        else:
            mask = (torch.arange(batch.shape[1]) < lengths[:, None]).long()
            logits = theirs(batch, attention_mask=mask).logits
    for row, n in enumerate(frames.tolist()):
        torch.testing.assert_close(log_probs[row, :n], logits[row, :n].log_softmax(-1), atol=2e-4, rtol=0)


@pytest.mark.parametrize("kind", CONFIGS)
def test_train_and_start_from(kind: str, small: Callable[..., Config], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CONFIGS[kind]()
    save(KINDS[config.model_type].encoder(config), tmp_path / "hub")
    changes = [
        "model.init=pretrained",
        "finetune=feature_encoder_frozen",
        "model.mask_time_prob=0.3",
        "trainer.max_steps=2",
    ]
    results = fit(small(*changes, f"model.checkpoint='{tmp_path}/hub'"), RunFolder(tmp_path / "first"))
    assert results["status"] == "completed"
    options = small(f"model.checkpoint='{tmp_path}/first'").model
    again, _, note = build_model(load_start(options), Vocabulary.of_texts(["x"]), options, "keep")
    assert again.encoder.config.model_type == config.model_type
    assert "its head kept" in note
    frozen = torch.load(tmp_path / "first/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    theirs = KINDS[config.model_type].encoder.from_pretrained(tmp_path / "hub").state_dict()
    same = [torch.equal(frozen[f"model.encoder.{name}"], value) for name, value in theirs.items()]
    front = [name.startswith("feature_extractor.") for name in theirs]
    assert all(s for s, f in zip(same, front, strict=True) if f)
    assert not all(same)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "wav2vec2-bert"])
@torch.inference_mode()
def test_batched_equals_alone(kind: str) -> None:
    torch.manual_seed(0)
    config = CONFIGS[kind]()
    model = CtcModel(KINDS[config.model_type].encoder(config), 7, ModelConfig(gradient_checkpointing=False)).eval()
    batch, lengths = waves(16_000, 9_333, 5_000)
    together, frames = model(batch, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone, alone_frames = model(batch[i : i + 1, :length], lengths[i : i + 1])
        n = frames[i].item()
        assert alone_frames.item() == n
        torch.testing.assert_close(together[i, :n], alone[0, :n], atol=2e-5, rtol=0)


def test_mel_features() -> None:
    batch, lengths = waves(16_000, 12_345)
    raw = [row[:n].numpy() for row, n in zip(batch, lengths.tolist(), strict=True)]
    theirs = SeamlessM4TFeatureExtractor()(raw, sampling_rate=16_000, return_tensors="pt")
    ours = mel_features(batch, lengths)
    for row, frames in enumerate(theirs["attention_mask"].sum(1).tolist()):
        torch.testing.assert_close(
            ours[row, : frames - 1], theirs["input_features"][row, : frames - 1], atol=5e-3, rtol=0
        )


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with the names of older torch versions, as in the files of XLS-R."""
    return {
        k.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v"): v
        for k, v in state.items()
    }  # fmt: skip


@pytest.mark.parametrize("form", ["old .bin", "safetensors", "sharded"])
def test_pretraining_formats(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = Wav2Vec2ForPreTraining(CONFIGS["wav2vec2"]()).eval()
    if form == "old .bin":
        theirs.config.save_pretrained(tmp_path)
        state = old_names(theirs.state_dict())
        assert any(name.endswith("weight_g") for name in state)
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        theirs.save_pretrained(tmp_path, max_shard_size="40KB" if form == "sharded" else "1GB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (form == "sharded")
    ours, _, note = load(tmp_path)
    for name, value in theirs.wav2vec2.state_dict().items():
        assert torch.equal(ours.encoder.state_dict()[name], value), name
    assert "nothing in the encoder is new" in note
    assert "not used: project_hid, project_q, quantizer" in note
    assert note.endswith("; a new head")


def test_newly_initialised(tmp_path: Path) -> None:
    theirs = KINDS["wav2vec2"].encoder(CONFIGS["wav2vec2"]())
    save(theirs, tmp_path)
    state = {k: v for k, v in theirs.state_dict().items() if "masked_spec_embed" not in k and ".layers.1." not in k}
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    _, _, note = load(tmp_path)
    assert "newly initialised: encoder.layers.1, masked_spec_embed; a new head" in note


def test_different_architecture(tmp_path: Path) -> None:
    WhisperConfig().save_pretrained(tmp_path / "whisper")
    (tmp_path / "whisper/model.safetensors").touch()
    with pytest.raises(ValueError, match="of the kind whisper; expected one of wav2vec2, hubert, wavlm, wav2vec2-bert"):
        load(tmp_path / "whisper")
    save(KINDS["wav2vec2"].encoder(CONFIGS["wav2vec2"]()), tmp_path / "mixed")
    HubertConfig(**SHAPE | {"hidden_size": 48}, **LARGE).save_pretrained(tmp_path / "mixed")
    with pytest.raises(ValueError, match=r"mixed: .* config\.json"):
        load(tmp_path / "mixed")
    save_file({"decoder.weight": torch.zeros(2)}, tmp_path / "mixed/model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"of a different architecture than its config\.json"):
        load(tmp_path / "mixed")


def test_mms_language(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Wav2Vec2Config(**SHAPE, **LARGE, adapter_attn_dim=4)
    theirs = Wav2Vec2ForCTC(config)
    save(theirs, tmp_path)
    nested = {"eng": {"<pad>": 0, "[UNK]": 1, "|": 2, "a": 3, "b": 4, "c": 5, "d": 6}, "khm": {**VOCABULARY, "ច": 7}}
    (tmp_path / "vocab.json").write_text(json.dumps(nested), encoding="utf-8")
    Wav2Vec2CTCTokenizer(
        tmp_path / "vocab.json", unk_token="[UNK]", pad_token="<pad>", target_lang="eng"
    ).save_pretrained(tmp_path)
    adapters = {k: torch.randn_like(v) for k, v in theirs.state_dict().items() if "adapter_layer" in k}
    assert adapters
    save_file(
        adapters | {"lm_head.weight": torch.randn(8, 32), "lm_head.bias": torch.randn(8)},
        tmp_path / "adapter.khm.safetensors",
        {"format": "pt"},
    )
    ours, vocabulary, note = load(tmp_path, language="khm", head="keep")
    assert "adapters of khm" in note
    assert vocabulary.symbols[-1] == "ច"
    for name, value in adapters.items():
        assert torch.equal(ours.encoder.state_dict()[name.removeprefix("wav2vec2.")], value), name
    with pytest.raises(ValueError, match="no adapters of languages"):
        load(save(KINDS["hubert"].encoder(CONFIGS["hubert"]()), tmp_path / "hubert"), language="khm")


def test_head_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shuffled = {"ង": 0, "|": 1, "<pad>": 2, "ក": 3, "គ": 4, "[UNK]": 5, "ខ": 6}
    config = CONFIGS["wav2vec2"]()
    config.pad_token_id = 2
    theirs = Wav2Vec2ForCTC(config).eval()
    ours, vocabulary, _ = load(save(theirs, tmp_path, shuffled))
    batch, lengths = waves(16_000)
    with torch.inference_mode():
        log_probs, logits = ours.eval()(batch, lengths)[0], theirs(batch).logits.log_softmax(-1)
    names = {"<blank>": "<pad>", "<unk>": "[UNK]", " ": "|"}
    order = [shuffled[names.get(symbol, symbol)] for symbol in vocabulary.symbols]
    torch.testing.assert_close(log_probs, logits[..., order], atol=2e-5, rtol=0)
