"""The parts of a model, its parameter groups, and its optimizer."""

import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from khasr.config import OptimizerConfig

_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")  # the same in each of transformers' speech encoders
_TOP_NORM = re.compile(r"encoder\.layer_norm\.")
_FSDP = "_fsdp_wrapped_module."  # in the names of what torch's FSDP has wrapped


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


def named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters with their names in the model before its layers were sharded."""
    for name, parameter in model.named_parameters():
        yield name.replace(_FSDP, ""), parameter


def parts(model: nn.Module) -> dict[str, str]:
    """The part of each parameter, by its name."""
    config = getattr(getattr(model, "encoder", None), "config", None)
    top_norm = bool(getattr(config, "do_stable_layer_norm", True))
    return {name: part_of(name, top_norm) for name, _ in named_parameters(model)}


def dimensions(model: nn.Module) -> dict[str, int]:
    """The number of dimensions of each parameter, by its name."""
    return {name: parameter.ndim for name, parameter in named_parameters(model)}


def parameter_groups(
    options: OptimizerConfig, model: nn.Module, whole: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """The trainable parameters in one group for each pair of lr and weight decay; the encoder's highest lr is first.

    Each group has "lr", "weight_decay", and "layer_scale", the factor that layer decay gives at its depth.

    Args:
        whole: `dimensions` of the model before it was sharded, if it is: a shard has one dimension.
    """
    part = parts(model)
    whole = dimensions(model) if whole is None else whole
    layers = 1 + max((int(p.removeprefix("layer_")) for p in part.values() if p.startswith("layer_")), default=-1)
    members: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in named_parameters(model):
        if parameter.requires_grad:
            apart = part[name] == "head" and options.head_lr is not None
            scale = options.layer_decay ** _depth(part[name], layers)
            # Weights of norms and biases have one dimension. Decay would pull them to 0 without regularising anything.
            members.setdefault((apart, scale, whole[name] > 1), []).append(parameter)
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


def build_optimizer(
    options: OptimizerConfig, model: nn.Module, whole: Mapping[str, int] | None = None
) -> torch.optim.Optimizer:
    """The optimizer of a model's trainable parameters; norms and biases have no weight decay.

    Args:
        whole: `dimensions` of the model before it was sharded, if it is.
    """
    return _of_groups(parameter_groups(options, model, whole), options)


def skip_unless(finite: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Makes the optimizer's next step change nothing unless the gradient is finite.

    A NaN in a gradient would make every weight NaN. Fused optimizers read the flag on its device; for others this waits
    for the device.

    Args:
        finite: () bool, on the device of the gradient.
    """
    if optimizer.defaults.get("fused"):
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
    elif not finite:
        optimizer.zero_grad(set_to_none=True)


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
    kind = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    # Fused: one pass over weights and states, and no temporary copy of them.
    fused = {p.device.type for group in groups for p in group["params"]} <= {"cpu", "cuda"}
    adam: torch.optim.Optimizer = kind(
        groups, lr=options.lr, betas=(first, second), eps=options.eps, fused=fused or None
    )
    # Otherwise fp16 gradients would be unscaled in the step, after they were clipped.
    adam._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return adam
