"""oneDNN's cache is small, unless the user sets its size."""

import os
import subprocess
import sys

import pytest
import torch

# Twice the same 100 lengths, and a line between.
_TWICE = """
import torch
from torch import nn
from khasr.model.allocator import set_allocator
conv = nn.Conv1d(16, 16, 3)
set_allocator(conv)
with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON_CREATION), torch.no_grad():
    for _ in range(2):
        for length in range(100, 200):
            conv(torch.zeros(4, 16, length))
        print("second", flush=True)
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize("capacity", [None, "1024"])
def test_operations_of_earlier_lengths(capacity: str | None) -> None:
    """Operations are not kept for all lengths that were seen, which would keep their memory, too."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ONEDNN_")}
    if capacity is not None:
        variables["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = capacity
    command = [sys.executable, "-c", _TWICE]
    printed = subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout
    first, second, _ = printed.split("second\n")
    assert first.count("create:cache_miss,cpu,convolution") == 100
    assert second.count("create:cache_miss,cpu,convolution") == (100 if capacity is None else 0)
