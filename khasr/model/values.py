"""Checks of the weights in checkpoint files."""

from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

_TYPES = (torch.float32, torch.bfloat16, torch.float16)
# Counters, which are integers in every checkpoint.
_COUNTERS = ("num_batches_tracked", "position_ids")


def check_values(name: str | Path, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Checks that weights are finite numbers in a precision that models are trained in.

    Args:
        name: file or model that the weights belong to, for the message.

    Raises:
        ValueError: integers, float64 or values that are not finite.
    """
    for key, weight in weights:
        if key.endswith(_COUNTERS):
            continue
        if weight.dtype not in _TYPES:
            raise ValueError(f"{name}: {key} is {weight.dtype}; expected {', '.join(map(str, _TYPES))}.")
        if not bool(weight.isfinite().all()):
            raise ValueError(
                f"{name}: {key} contains values that are not finite. The run diverged, or the file is damaged; "
                "train again, for example with a lower optimizer.lr or precision=fp32, or restore the file."
            )


def check_file(path: Path) -> None:
    """Checks that a weight file (safetensors, or torch's .bin) is complete, and `check_values` of what it contains.

    Raises:
        ValueError: the file is damaged, or a weight is not usable.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                check_values(path, ((key, file.get_tensor(key)) for key in file.keys()))  # noqa: SIM118 - not a dict
        else:
            # Mapped where the format allows it, since the file of a large model does not fit into memory twice.
            weights = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
            check_values(path, ((key, value) for key, value in weights.items() if isinstance(value, Tensor)))
    except (SafetensorError, OSError, RuntimeError, EOFError, UnpicklingError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a complete file of weights: it cannot be read ({' '.join(str(error).split())[:200]}). "
            "Download or copy it again."
        ) from error
