"""Devices, precision and strategy of a run, and checks that they are available."""

from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only

from khasr.config import Config
from khasr.training.combinations import check_combinations

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed", "bf16_true": "bf16-true"}


def is_first_process() -> bool:
    """Whether this is the process that writes and prints; Lightning starts one process per device."""
    return not getattr(rank_zero_only, "rank", 0)


def check_devices(config: Config) -> int:
    """Checks that the run can be computed here as configured; returns the number of devices on each machine.

    Raises:
        ValueError: it cannot; the message names the option to change.
    """
    options = config.trainer
    gpu = torch.cuda.is_available() and options.accelerator != "cpu"
    if options.accelerator == "gpu" and not gpu:
        raise ValueError("trainer.accelerator=gpu, but torch finds no GPU. Use trainer.accelerator=auto.")
    if config.precision.name == "fp16" and not gpu:
        raise ValueError(
            "precision=fp16 needs a GPU, and this run uses the CPU. Use precision=fp32 (or bf16, which is slower on "
            "most CPUs)."
        )
    if options.devices == -1 and not gpu:
        raise ValueError(
            "trainer.devices=-1 means all GPUs, and torch finds none. On a CPU set the number of processes: "
            "trainer.devices=2."
        )
    if options.strategy == "fsdp" and not gpu:
        raise ValueError(
            "trainer.strategy=fsdp needs GPUs, and torch finds none. On a CPU use trainer=ddp trainer.devices=2."
        )
    devices = torch.cuda.device_count() if options.devices == -1 else options.devices
    if gpu and devices > torch.cuda.device_count():
        raise ValueError(f"trainer.devices={devices}, but torch finds {torch.cuda.device_count()} GPU(s).")
    check_combinations(config, devices * options.num_nodes)
    return devices
