"""The initial weights of a model: random, from a Hugging Face checkpoint, or from an earlier run."""

import json
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from transformers import PreTrainedModel, Wav2Vec2Config, Wav2Vec2Model

from khasr.config import ModelConfig, TextConfig
from khasr.model.ctc import CtcModel
from khasr.model.encoders import KINDS
from khasr.model.finetune import plain_weights
from khasr.model.hub import load_pretrained, read_pretrained_config, weight_files
from khasr.model.values import check_values
from khasr.run.folder import RunFolder
from khasr.text.vocabulary import Vocabulary

_OURS = "khasr"


@dataclass
class Start:
    """The initial weights of a run.

    Attributes:
        vocabulary: vocabulary of the head that comes with the weights; None without a head.
        head: weights of that head, by name.
        note: where the weights come from, for the terminal.
    """

    encoder: PreTrainedModel
    vocabulary: Vocabulary | None
    head: dict[str, torch.Tensor]
    note: str


def check_weights(options: ModelConfig) -> None:
    """Checks that the initial weights exist, without loading them.

    Raises:
        FileNotFoundError: they were not found; the message lists alternatives.
        ValueError: their architecture is not supported, or a checkpoint would be ignored.
    """
    if options.init == "random" and not _is_run(options):
        # A choice such as xlsr_300m has a checkpoint of the hub, which model.init=random is to replace.
        if options.checkpoint is not None and Path(options.checkpoint).expanduser().exists():
            raise ValueError(
                f"model.checkpoint={options.checkpoint} would not be used: model.init=random, which model=tiny sets. "
                "model.init=pretrained starts from the checkpoint; model.checkpoint=null starts from random weights."
            )
        return
    if options.checkpoint is None:
        raise FileNotFoundError(
            "model.init=pretrained requires model.checkpoint: a Hugging Face id, a folder, or the folder of a run. "
            "model.init=random starts from random weights."
        )
    if not _is_run(options):
        read_pretrained_config(options)


def load_start(options: ModelConfig, resumed: Path | None = None) -> Start:
    """The initial encoder of a run, and the head that comes with it.

    Args:
        resumed: the checkpoint of the run that is resumed; nothing else is read then.

    Raises:
        FileNotFoundError: the weights were not found.
        ValueError: they are damaged, not finite, or of an unsupported architecture.
    """
    if resumed is not None:
        return _of_checkpoint(resumed, options)
    if (checkpoint := _run_checkpoint(options)) is not None:
        # Regardless of model.init, which model=tiny sets to random.
        return _of_checkpoint(checkpoint, options)
    if options.init == "random":
        encoder = Wav2Vec2Model(encoder_config(options))
        return Start(encoder, None, {}, f"{options.name}: random weights")
    encoder, vocabulary, head_weights, note = load_pretrained(options, _regularisation(options))
    return Start(encoder, vocabulary, head_weights, f"{options.name}: {note}")


def start_files(options: ModelConfig) -> list[Path]:
    """The files with the pretrained weights that a run starts from; empty for random weights or if there are none."""
    if (checkpoint := _run_checkpoint(options)) is not None:
        return [checkpoint]
    if options.init == "random" or options.checkpoint is None:
        return []
    return weight_files(options)


def build_model(
    start: Start, training_vocabulary: Vocabulary, options: ModelConfig, head: str
) -> tuple[CtcModel, Vocabulary, str]:
    """The model of a run, its vocabulary, and a note on where both come from.

    Args:
        head: value of the option model.head.

    Raises:
        ValueError: model.head=keep, but the weights have no head.
    """
    if head == "keep" and start.vocabulary is None:
        raise ValueError(
            f"model.head=keep, but the weights have no CTC head with a vocabulary ({start.note}). Set model.head=new."
        )
    keep = head == "keep" or (head == "auto" and start.vocabulary == training_vocabulary)
    vocabulary = start.vocabulary if keep and start.vocabulary is not None else training_vocabulary
    model = CtcModel(start.encoder, len(vocabulary), options)
    if not keep:
        return model, vocabulary, f"{start.note}; a new head"
    model.head.load_state_dict(start.head)
    return model, vocabulary, f"{start.note}; its head kept"


def describe_model(model: CtcModel, vocabulary: Vocabulary, options: ModelConfig, text: TextConfig) -> dict[str, Any]:
    """Everything besides the weights that rebuilding the model requires, as plain values for a checkpoint."""
    return {
        _OURS: {
            "encoder": json.loads(model.encoder.config.to_json_string(use_diff=False)),
            "symbols": vocabulary.symbols,
            "adapter_scale": model.adapter_scale,
            "model": vars(options) | {"architecture": vars(options.architecture)},
            "text": vars(text),
        }
    }


def load_weights(model: CtcModel, path: Path) -> None:
    """Loads the weights of a checkpoint of the same model; they are read from the mapped file."""
    model.load_state_dict(_model_weights(_load_checkpoint(path)))


def _load_checkpoint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a checkpoint that a khasr run wrote.")
    try:
        # Mapped: a 1B's resuming checkpoint is 14 GB, of which only the weights are read.
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except PermissionError:
        raise
    except (RuntimeError, EOFError, UnpicklingError, ValueError, KeyError, OSError) as error:  # OSError: a cut file
        reason = " ".join(str(error).split(". ")[0].split())
        raise ValueError(f"{path} is not a complete checkpoint: it cannot be read ({reason}).") from error
    if not isinstance(checkpoint, dict) or _OURS not in checkpoint or "state_dict" not in checkpoint:
        there = ", ".join(map(str, list(checkpoint)[:6])) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise ValueError(f"{path} is not a checkpoint of khasr: it contains {there}.")
    return checkpoint


def _model_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights by their names in a model without adapters; adapters are merged into them."""
    weights = {key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items()}
    return dict(plain_weights(weights, checkpoint[_OURS].get("adapter_scale", 0.0)))


def _run_checkpoint(options: ModelConfig) -> Path | None:
    """The best checkpoint of the run in model.checkpoint, or its last; None if it is not the folder of a run."""
    return RunFolder.at(str(options.checkpoint)).weights


def _is_run(options: ModelConfig) -> bool:
    return _run_checkpoint(options) is not None


def _of_checkpoint(path: Path, options: ModelConfig) -> Start:
    checkpoint = _load_checkpoint(path)
    check_values(path, checkpoint["state_dict"].items())
    try:
        ours = checkpoint[_OURS]
        kind = KINDS[ours["encoder"]["model_type"]]
        config = kind.config(**ours["encoder"])
        config.update(_regularisation(options))
        encoder = kind.encoder(config)
        weights = _model_weights(checkpoint)
        encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")})
        head = {k.removeprefix("head."): v.clone() for k, v in weights.items() if k.startswith("head.")}
        if head["weight"].shape[0] != len(ours["symbols"]):
            raise ValueError(f"its head has {head['weight'].shape[0]} outputs for {len(ours['symbols'])} symbols")
        vocabulary = Vocabulary(ours["symbols"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} is damaged: its weights do not match its description ({reason}).") from error
    return Start(encoder, vocabulary, head, f"{options.name}: weights of the run {path}")


def encoder_config(options: ModelConfig) -> Wav2Vec2Config:
    """transformers' configuration of an encoder of the shape model.architecture."""
    architecture = options.architecture
    return Wav2Vec2Config(
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate_size,
        conv_dim=architecture.conv_dim,
        conv_kernel=architecture.conv_kernel,
        conv_stride=architecture.conv_stride,
        num_conv_pos_embeddings=architecture.pos_conv_kernel,
        num_conv_pos_embedding_groups=architecture.pos_conv_groups,
        # As in XLS-R: layer norms in the feature encoder, and before each block of the transformer.
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
        **_regularisation(options),
    )


def _regularisation(options: ModelConfig) -> dict[str, Any]:
    return {
        "attention_dropout": options.attention_dropout,
        "hidden_dropout": options.hidden_dropout,
        "activation_dropout": options.activation_dropout,
        "feat_proj_dropout": options.feat_proj_dropout,
        "layerdrop": options.layerdrop,
        # Above 0, so that the mask embedding exists; CtcModel draws the masks.
        "mask_time_prob": 1.0,
    }
