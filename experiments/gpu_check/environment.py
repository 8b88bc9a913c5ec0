"""The machine that a check ran on."""

import platform
import re
from pathlib import Path
from typing import Any

import torch

from khasr.run.results import device_name


def environment() -> dict[str, Any]:
    """GPUs, driver, CUDA, cuDNN, NCCL, support of bfloat16, and versions."""
    found: dict[str, Any] = {
        "machine": device_name(torch.cuda.is_available()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "built for CUDA": torch.version.cuda,
    }
    driver = Path("/proc/driver/nvidia/version")
    if driver.is_file():
        match = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", driver.read_text(encoding="utf-8"))
        found["driver"] = match[1] if match else "unknown"
    if torch.cuda.is_available():
        found |= {
            "gpus": [
                f"{torch.cuda.get_device_name(i)}, {torch.cuda.get_device_properties(i).total_memory / 2**30:.1f} GiB"
                for i in range(torch.cuda.device_count())
            ],
            "cuDNN": torch.backends.cudnn.version(),
            "NCCL": ".".join(map(str, torch.cuda.nccl.version())),
            "bfloat16": torch.cuda.is_bf16_supported(),
        }
    return found
