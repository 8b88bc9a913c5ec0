"""The number format in which a model is computed."""

import torch

from khasr.config import PrecisionConfig

AUTOCAST = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Types of autocast by the names of precisions; None: float32."""


def set_tf32(options: PrecisionConfig) -> None:
    """Sets whether GPUs may use TF32 for float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32


def scoring_type(device: torch.device, precision: str) -> torch.dtype | None:
    """The type of autocast in which a trained model is scored, None for float32.

    On a GPU it is that of training, as in validation. On a CPU it is float32: bfloat16 is slower on most.
    """
    return AUTOCAST[precision] if device.type == "cuda" else None


def scoring_autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a trained model is scored; log-probabilities are float32 in either case."""
    dtype = scoring_type(device, precision)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
