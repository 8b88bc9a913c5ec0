"""Devices, precision and strategy of a run, and checks that they are available."""

from typing import Any

import torch
from pytorch_lightning.strategies import FSDPStrategy, Strategy
from pytorch_lightning.utilities import rank_zero_only

from khasr.config import Config, TrainerConfig
from khasr.model.ctc import CtcModel

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed", "bf16_true": "bf16-true"}


def is_first_process() -> bool:
    """Whether this is the process that writes and prints; Lightning starts one process per device."""
    return not getattr(rank_zero_only, "rank", 0)


def check_devices(config: Config) -> int:
    """Checks that the run can be computed here as configured; returns the number of devices on each machine.

    Raises:
        ValueError: it cannot; the message names the option to change.
    """
    options, model = config.trainer, config.model
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
    if options.strategy == "fsdp" and (config.optimizer.ema_decay > 0 or config.finetune.name == "lora"):
        raise ValueError(
            "trainer.strategy=fsdp shards the weights, which optimizer.ema_decay and finetune=lora do not support. "
            "trainer=ddp works with both."
        )
    devices = torch.cuda.device_count() if options.devices == -1 else options.devices
    if gpu and devices > torch.cuda.device_count():
        raise ValueError(f"trainer.devices={devices}, but torch finds {torch.cuda.device_count()} GPU(s).")
    ranks = devices * options.num_nodes
    if ranks > 1 and model.layerdrop > 0 and model.gradient_checkpointing:
        raise ValueError(
            f"model.layerdrop={model.layerdrop} with model.gradient_checkpointing=true on {ranks} devices: "
            "each device drops different layers, recomputation waits for gradients that never arrive, and the run "
            "hangs or fails (transformers #30113). Use model.layerdrop=0 or model.gradient_checkpointing=false."
        )
    return devices


def build_strategy(options: TrainerConfig, model: CtcModel, some_unused: bool) -> str | Strategy:
    """The strategy, or Lightning's name for it.

    Args:
        some_unused: whether a trained weight may get no gradient in a step, because its layer is dropped or the
            encoder is frozen.
    """
    if options.strategy == "fsdp":
        # Shards the layers of the transformer; the rest is small. Checkpoints are not sharded.
        layers = {type(layer) for layer in model.encoder.encoder.layers}
        return FSDPStrategy(auto_wrap_policy=layers, state_dict_type="full")
    if options.devices * options.num_nodes == 1 and options.strategy == "auto":
        return "auto"
    # Plain ddp waits for the gradient of every weight.
    return "ddp_find_unused_parameters_true" if some_unused else "ddp"
