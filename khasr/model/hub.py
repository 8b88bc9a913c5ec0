"""Hugging Face checkpoints from a folder, the cache or the hub: encoders, and their CTC heads."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.errors import HTTPError as HubHTTPError  # type: ignore[attr-defined]
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, Wav2Vec2CTCTokenizer
from transformers.utils import logging as transformers_logging

from khasr.config import ModelConfig
from khasr.model.encoders import KINDS, check_kind
from khasr.model.values import check_file
from khasr.text.vocabulary import BLANK, UNKNOWN, Vocabulary

# The bias of <unk> in a head that had no <unk>, which is then never predicted.
_NEVER = -1e4


_MOST = 8  # modules in a message


def read_pretrained_config(options: ModelConfig) -> PreTrainedConfig:
    """The configuration of the checkpoint that model.checkpoint names.

    Raises:
        FileNotFoundError: it was not found; the message lists alternatives.
        ValueError: its kind is not supported.
    """
    name, ways = folder_or_id(options), _alternatives(options)
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as missing:
        if (Path(name) / "config.json").is_file():
            raise ValueError(
                f"model.checkpoint={name}: its config.json is damaged, or of a model that transformers does not "
                "have. khasr does not run Python code of model folders."
            ) from missing
        if Path(name).is_dir():
            raise FileNotFoundError(f"model.checkpoint={name} is a folder without a config.json. {ways}") from missing
        try:
            # Asked first, because transformers would retry for half a minute if the hub cannot be reached.
            HfApi().model_info(name, timeout=10)
        except (HubHTTPError, HFValidationError, OSError) as error:
            reason = str(error).strip().split("\n")[0]
            raise FileNotFoundError(
                f"model={options.name}: the pretrained weights {name} are neither a folder nor in the Hugging Face "
                f"cache, and could not be downloaded ({type(error).__name__}: {reason}). {ways}"
            ) from error
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    if Path(name).is_dir() and not [*Path(name).glob("*.safetensors"), *Path(name).glob("pytorch_model*.bin")]:
        raise FileNotFoundError(f"model.checkpoint={name} has a config.json and no weights. {ways}")
    check_kind(config, name)
    if options.language is not None and getattr(config, "adapter_attn_dim", None) is None:
        raise ValueError(
            f"model.language={options.language}, but {name} has no adapters of languages (adapter_attn_dim); only "
            "multilingual MMS models have them."
        )
    loaded: PreTrainedConfig = config
    return loaded


def load_pretrained(
    options: ModelConfig, regularisation: dict[str, Any]
) -> tuple[PreTrainedModel, Vocabulary | None, dict[str, torch.Tensor], str]:
    """The encoder of a checkpoint, the vocabulary and weights of its head if it has one, and a note on new weights.

    Args:
        regularisation: fields of the configuration that the run sets (dropouts).

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are damaged, not finite, or do not match the configuration.
    """
    config = read_pretrained_config(options)
    config.update(regularisation)
    kind = KINDS[config.model_type]
    finetuned = any(architecture.endswith("ForCTC") for architecture in config.architectures or [])
    model, new, unused = _from_pretrained(kind.ctc if finetuned else kind.encoder, options, config)
    notes = [f"weights of {options.checkpoint}" + (f", adapters of {options.language}" if options.language else "")]
    encoder = getattr(model, kind.prefix) if finetuned else model
    vocabulary, head = _khasr_head(options, model) if finetuned else (None, {})
    notes.append(f"newly initialised: {', '.join(new)}" if new else "nothing in the encoder is new")
    if unused:
        notes.append(f"not used: {', '.join(unused)}")
    return encoder, vocabulary, head, "; ".join(notes)


def folder_or_id(options: ModelConfig) -> str:
    """model.checkpoint for transformers, which does not expand `~`."""
    folder = Path(str(options.checkpoint)).expanduser()
    return str(folder) if folder.is_dir() else str(options.checkpoint)


def weight_files(options: ModelConfig) -> list[Path]:
    """The weight files of model.checkpoint in its folder or in the Hugging Face cache; empty if they are in neither."""
    name = folder_or_id(options)
    folder = Path(name)
    if not folder.is_dir():
        config = try_to_load_from_cache(name, "config.json")
        if not isinstance(config, str):
            return []
        folder = Path(config).parent
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _from_pretrained(
    kind: type[PreTrainedModel], options: ModelConfig, config: PreTrainedConfig
) -> tuple[Any, list[str], list[str]]:
    """The model, the newly initialised modules, and the modules of the file that are not used."""
    for path in weight_files(options):
        check_file(path)
    # MMS has a file with adapters and a head for each language.
    language = {"target_lang": options.language, "ignore_mismatched_sizes": True} if options.language else {}
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its table of new weights is a note here
    try:
        model, report = kind.from_pretrained(
            folder_or_id(options),
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            **language,
        )
    except (OSError, SafetensorError) as error:
        raise FileNotFoundError(
            f"model.checkpoint={options.checkpoint} has a config.json, and weights that cannot be read "
            f"({' '.join(str(error).split())}). {_alternatives(options)}"
        ) from error
    except RuntimeError as error:  # raised by transformers for different shapes
        raise ValueError(
            f"model.checkpoint={options.checkpoint}: the shapes of its weights do not match its config.json "
            f"({' '.join(str(error).split())[:300]})."
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    new, unused = _modules(report["missing_keys"]), _modules(report["unexpected_keys"])
    of_encoder = [name for name in report["missing_keys"] if "masked_spec_embed" not in name and "lm_head" not in name]
    if len(of_encoder) > len(list(model.parameters())) // 2:
        raise ValueError(
            f"model.checkpoint={options.checkpoint}: {len(of_encoder)} of the encoder's weights are not in its file, "
            f"which has {', '.join(unused) or 'others'}: they are of a different architecture than its config.json."
        )
    return model, new, unused


def _modules(names: Iterable[str]) -> list[str]:
    """The modules of weights, for messages: a transformer layer is one module."""
    found = set()
    for name in names:
        layer = re.match(r".*?layers\.\d+", name)
        found.add(layer[0] if layer else ".".join(name.removesuffix(".weight").removesuffix(".bias").split(".")[:2]))
    modules = sorted(found)
    return modules if len(modules) <= _MOST else [*modules[:_MOST], f"and {len(modules) - _MOST} more"]


def _khasr_head(options: ModelConfig, model: Any) -> tuple[Vocabulary | None, dict[str, torch.Tensor]]:
    """The vocabulary and the weights of the head in khasr's order: blank, <unk>, then the tokenizer's symbols."""
    try:
        tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(
            folder_or_id(options), target_lang=options.language, trust_remote_code=False
        )
    except (OSError, ValueError, TypeError):
        return None, {}  # a head without a vocabulary cannot be used
    ids = {token: at for token, at in tokenizer.get_vocab().items() if at < model.lm_head.out_features}
    blank, unknown = ids.get(tokenizer.pad_token), ids.get(tokenizer.unk_token)
    if blank is None:
        return None, {}
    special = {*tokenizer.all_special_tokens, tokenizer.pad_token, tokenizer.unk_token}
    delimiter = tokenizer.word_delimiter_token
    spoken = {
        " " if token == delimiter else token: at
        for token, at in ids.items()
        if token not in special or token == delimiter
    }
    weight, bias = model.lm_head.weight.detach(), model.lm_head.bias.detach()
    order = [blank, blank if unknown is None else unknown, *(spoken[symbol] for symbol in sorted(spoken))]
    weight, bias = weight[order].clone(), bias[order].clone()
    if unknown is None:
        weight[1], bias[1] = 0.0, _NEVER
    return Vocabulary([BLANK, UNKNOWN, *sorted(spoken)]), {"weight": weight, "bias": bias}


def _alternatives(options: ModelConfig) -> str:
    return (
        "Set model.checkpoint=DIR, a folder with config.json and the weights (on a machine with network: "
        f"hf download {options.checkpoint}); or model.init=random for random weights of the same shape."
    )
