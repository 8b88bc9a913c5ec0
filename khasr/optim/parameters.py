"""The parts of a model, its parameter groups, and its optimizer."""

import importlib.util
import logging
import re
from typing import Any

import torch
from torch import nn

from khasr.config import OptimizerConfig

_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")  # the same in each of transformers' speech encoders
_TOP_NORM = re.compile(r"encoder\.layer_norm\.")


def part_of(name: str, top_norm: bool = True) -> str:
    """The part of a CTC model that a parameter belongs to: "feature_encoder", "input", "layer_07", "norm" or "head".

    "input" is everything between the feature encoder and the first layer: projection, mask vector, positions.

    Args:
        top_norm: whether the encoder's layer norm follows its last layer (XLS-R) or precedes the first (wav2vec 2.0
            base).
    """
    if layer := _LAYER.search(name):
        return f"layer_{int(layer[1]):02d}"
    if "feature_extractor." in name:
        return "feature_encoder"
    if _TOP_NORM.search(name) and top_norm:
        return "norm"
    return "input" if name.startswith("encoder.") else "head"


def parts(model: nn.Module) -> dict[str, str]:
    """The part of each parameter, by its name."""
    config = getattr(getattr(model, "encoder", None), "config", None)
    top_norm = bool(getattr(config, "do_stable_layer_norm", True))
    return {name: part_of(name, top_norm) for name, _ in model.named_parameters()}


def parameter_groups(options: OptimizerConfig, model: nn.Module) -> list[dict[str, Any]]:
    """The trainable parameters in one group for each pair of lr and weight decay; the encoder's highest lr is first.

    Each group has "lr", "weight_decay", and "layer_scale", the factor that layer decay gives at its depth.
    """
    part = parts(model)
    layers = 1 + max((int(p.removeprefix("layer_")) for p in part.values() if p.startswith("layer_")), default=-1)
    members: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            apart = part[name] == "head" and options.head_lr is not None
            scale = options.layer_decay ** _depth(part[name], layers)
            # Weights of norms and biases have one dimension. Decay would pull them to 0 without regularising anything.
            members.setdefault((apart, scale, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": members[apart, scale, decayed],
            "lr": options.head_lr if apart else options.lr * scale,
            "weight_decay": options.weight_decay if decayed else 0.0,
            "layer_scale": scale,
        }
        for apart, scale, decayed in sorted(members, key=lambda key: (key[0], -key[1], not key[2]))
    ]


def _depth(part: str, layers: int) -> int:
    """Number of layers from the top down to a part: 0 for the head and the norm before it."""
    if part.startswith("layer_"):
        return layers - int(part.removeprefix("layer_"))
    return layers + 1 if part in ("input", "feature_encoder") else 0


def build_optimizer(options: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a model's trainable parameters; norms and biases have no weight decay."""
    return _of_groups(parameter_groups(options, model), options)


def check_optimizer(options: OptimizerConfig) -> None:
    """Checks that the optimizer's library is installed.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if options.name == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise ModuleNotFoundError("optimizer=adamw_8bit needs bitsandbytes: pip install 'khasr[bitsandbytes]'.")


def _of_groups(groups: list[dict[str, Any]], options: OptimizerConfig) -> torch.optim.Optimizer:
    first, second = options.betas
    if options.name == "adamw_8bit":
        # Its only message on a CPU is about 4-bit kernels, which are not used here.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        from bitsandbytes.optim import AdamW8bit

        optimizer: torch.optim.Optimizer = AdamW8bit(groups, lr=options.lr, betas=(first, second), eps=options.eps)
        return optimizer
    if options.name == "adafactor":
        from transformers.optimization import Adafactor

        # Absolute lr, as in transformers' Trainer, so that a schedule has the same meaning as for Adam.
        adafactor: torch.optim.Optimizer = Adafactor(groups, lr=options.lr, scale_parameter=False, relative_step=False)
        return adafactor
    # Fused: one pass over weights and states. Not on a GPU, where it would unscale fp16 gradients after clipping.
    on_cpu = all(p.device.type == "cpu" for group in groups for p in group["params"]) and not torch.cuda.is_available()
    kind = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=options.lr, betas=(first, second), eps=options.eps, fused=True if on_cpu else None)
