"""How much CPU memory the C library and oneDNN keep."""

import ctypes
import os
import platform

from torch import nn

# glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4

_LARGE = 2**26  # parameters; with gradients and Adam's states 1 GiB

# oneDNN reads this variable at its first operation, and has no function for it that torch exports. It keeps compiled
# operations with their weights and scratch memory, by default 1,024, and each length of a batch makes new ones.
_ONEDNN_CAPACITY, _OPERATIONS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"


def set_allocator(model: nn.Module) -> None:
    """Sets how glibc treats freed CPU memory, and how much oneDNN caches; before the model's first operation on a CPU.

    oneDNN's cache has no use where every batch has another length: half of a small model's memory
    (experiments/memory_cpu). Its environment variable takes precedence. With other C libraries nothing else is set.

    By default glibc returns large blocks to the kernel, which zeroes the next ones page by page: a sixth of a small
    model's step on a CPU. For small models freed memory is therefore kept (experiments/speed). For large models, which
    fill the machine, all freed blocks are returned; by default blocks of up to 32 MiB stay, 0.2 GiB for the 1B
    (experiments/memory_1b).
    """
    os.environ.setdefault(_ONEDNN_CAPACITY, _OPERATIONS)
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    if sum(p.numel() for p in model.parameters()) < _LARGE:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    else:
        # glibc's defaults, in case the process had a small model before.
        library.mallopt(_M_MMAP_MAX, 2**16)
        library.mallopt(_M_TRIM_THRESHOLD, 2**17)
        library.mallopt(_M_MMAP_THRESHOLD, 2**20)
