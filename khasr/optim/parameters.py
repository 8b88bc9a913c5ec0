"""Which parameters are changed how."""

import torch
from torch import nn

from khasr.config import OptimizerConfig


def build_optimizer(options: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a model's trainable parameters; weight decay spares norms and biases."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        # A norm's weight and any bias has one dimension; decaying them pulls scales to 0 for nothing.
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    first, second = options.betas
    return torch.optim.AdamW(groups, lr=options.lr, betas=(first, second), eps=options.eps)
