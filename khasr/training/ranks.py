"""Small exchanges between the processes of a run, over the CPU, which does not wait for the GPU."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed

_groups: dict[Any, Any] = {}


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; every rank has to call this."""
    return sum_over_ranks([float(flag)])[0] > 0


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """The sums of each value over all ranks, in float64; every rank has to call this with as many values."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(sums, group=_cpu_group())
    found: list[float] = sums.tolist()
    return found


def _cpu_group() -> Any:
    """A group that exchanges CPU tensors: NCCL's exchanges those of GPUs, and reading one waits for the GPU."""
    world = distributed.group.WORLD
    if distributed.get_backend() == "gloo":
        return world
    if world not in _groups:
        _groups[world] = distributed.new_group(backend="gloo")
    return _groups[world]
