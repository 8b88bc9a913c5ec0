"""Devices, precision and strategy of a run, and checks that they are available."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only

from khasr.config import Config
from khasr.run.results import uses_gpu
from khasr.training.combinations import check_combinations

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed"}
_DRIVER = Path("/proc/driver/nvidia/version")


def is_first_process() -> bool:
    """Whether this is the process that writes and prints; Lightning starts one process per device."""
    return not getattr(rank_zero_only, "rank", 0)


def why_no_gpu() -> str:
    """A sentence with a space before it on why torch finds no GPU, if the machine has NVIDIA's driver; else nothing."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not _DRIVER.is_file() or hidden in ("", "-1"):
        return ""
    version = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", _DRIVER.read_text(encoding="utf-8"))
    driver = version[1] if version else "of unknown version"
    built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is a build for CPUs"
    seen = f", and CUDA_VISIBLE_DEVICES={hidden}" if hidden is not None else ""
    return (
        f" This machine has NVIDIA's driver {driver}{seen}; torch {torch.__version__} {built}. If the driver is older "
        "than that CUDA version needs (nvidia-smi prints the newest it supports), update it or install a torch for an "
        "older CUDA."
    )


def check_devices(config: Config) -> int:
    """Checks that the run can be computed here as configured; returns the number of devices on each machine.

    Raises:
        ValueError: it cannot; the message names the option to change.
    """
    options = config.trainer
    gpu = uses_gpu(options)
    reason = "" if gpu or options.accelerator == "cpu" else why_no_gpu()
    if options.accelerator == "gpu" and not gpu:
        raise ValueError(f"trainer.accelerator=gpu, but torch finds no GPU.{reason} Use trainer.accelerator=auto.")
    if config.precision.name == "fp16" and not gpu:
        raise ValueError(
            f"precision=fp16 needs a GPU, and this run uses the CPU.{reason} Use precision=fp32 (or bf16, which is "
            "slower on most CPUs)."
        )
    if options.devices == -1 and not gpu:
        raise ValueError(
            f"trainer.devices=-1 means all GPUs, and torch finds none.{reason} On a CPU set the number of processes: "
            "trainer.devices=2."
        )
    if options.strategy == "fsdp" and not gpu:
        raise ValueError(
            f"trainer.strategy=fsdp needs GPUs, and torch finds none.{reason} On a CPU use trainer=ddp "
            "trainer.devices=2."
        )
    if reason:
        print(f"Note: this run uses the CPU.{reason}", file=sys.stderr)
    devices = torch.cuda.device_count() if options.devices == -1 else options.devices
    if gpu and devices > torch.cuda.device_count():
        raise ValueError(f"trainer.devices={devices}, but torch finds {torch.cuda.device_count()} GPU(s).")
    check_combinations(config, devices * options.num_nodes)
    return devices
