"""Which parameters are changed how."""

import importlib.util
import logging
from typing import Any

import torch
from torch import nn

from khasr.config import OptimizerConfig


def build_optimizer(options: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a model's trainable parameters; weight decay spares norms and biases."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        # A norm's weight and any bias has one dimension; decaying them pulls scales to 0 for nothing.
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return _of_groups(groups, options)


def check_optimizer(options: OptimizerConfig) -> None:
    """Looks whether the optimizer's library is installed.

    Raises:
        ModuleNotFoundError: it is not.
    """
    if options.name == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise ModuleNotFoundError("optimizer=adamw_8bit needs bitsandbytes: pip install 'khasr[bitsandbytes]'.")


def _of_groups(groups: list[dict[str, Any]], options: OptimizerConfig) -> torch.optim.Optimizer:
    first, second = options.betas
    if options.name == "adamw_8bit":
        # Its one message on a CPU is about kernels for 4 bits, which nothing here uses.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        from bitsandbytes.optim import AdamW8bit

        optimizer: torch.optim.Optimizer = AdamW8bit(groups, lr=options.lr, betas=(first, second), eps=options.eps)
        return optimizer
    if options.name == "adafactor":
        from transformers.optimization import Adafactor

        # Absolute lr, as transformers' Trainer has it: the schedule then means what it means for Adam.
        adafactor: torch.optim.Optimizer = Adafactor(groups, lr=options.lr, scale_parameter=False, relative_step=False)
        return adafactor
    return torch.optim.AdamW(groups, lr=options.lr, betas=(first, second), eps=options.eps)
