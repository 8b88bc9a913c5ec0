"""What a CPU's memory is asked of while a model computes."""

import ctypes
import platform

from torch import nn

# glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4


_LARGE = 2**26  # parameters; with gradients and Adam's states 1 GiB


def set_allocator(model: nn.Module) -> None:
    """Tells the C library what to do with freed memory, where that is glibc; GPUs have an allocator of their own.

    Left alone it gives large blocks back to the kernel at each free, and has the next one filled with zeros again, page
    by page: a sixth of a small model's step on a CPU, so there freed memory is kept (experiments/speed). Of a large
    model, whose weights and states fill the machine, it keeps blocks of up to 32 MiB between those in use, 0.2 GiB of
    the 1B's (experiments/memory_1b), so there all are given back.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    if sum(p.numel() for p in model.parameters()) < _LARGE:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    else:
        # glibc's own, after a small model in the same process.
        library.mallopt(_M_MMAP_MAX, 2**16)
        library.mallopt(_M_TRIM_THRESHOLD, 2**17)
        library.mallopt(_M_MMAP_THRESHOLD, 2**20)
