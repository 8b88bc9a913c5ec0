"""Where a run is computed: on how many devices, in which number format, and what of that cannot be."""

from typing import Any

import torch
from pytorch_lightning.strategies import FSDPStrategy, Strategy
from pytorch_lightning.utilities import rank_zero_only

from khasr.config import Config, TrainerConfig
from khasr.model.ctc import CtcModel

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed", "bf16_true": "bf16-true"}


def is_first_process() -> bool:
    """Whether this is the process that writes and tells; Lightning starts one for each further device."""
    return not getattr(rank_zero_only, "rank", 0)


def check_devices(config: Config) -> int:
    """Looks whether the run can be computed here as asked; returns the count of devices on each machine.

    Raises:
        ValueError: it cannot.
    """
    options, model = config.trainer, config.model
    gpu = torch.cuda.is_available() and options.accelerator != "cpu"
    if options.accelerator == "gpu" and not gpu:
        raise ValueError("trainer.accelerator=gpu, but torch sees no GPU here. trainer.accelerator=auto takes what is.")
    if config.precision.name == "fp16" and not gpu:
        raise ValueError(
            "precision=fp16 needs a GPU, and this run would be on a CPU. Pass precision=fp32 (or bf16, "
            "slower on most CPUs)."
        )
    if options.devices == -1 and not gpu:
        raise ValueError(
            "trainer.devices=-1 asks for all GPUs, and there is none. On a CPU say how many processes: devices=2."
        )
    if options.strategy == "fsdp" and not gpu:
        raise ValueError("trainer.strategy=fsdp needs GPUs, and torch sees none. On a CPU: trainer=ddp, devices=2.")
    if options.strategy == "fsdp" and (config.optimizer.ema_decay > 0 or config.finetune.name == "lora"):
        raise ValueError(
            "trainer.strategy=fsdp holds weights in shares, which optimizer.ema_decay and finetune=lora cannot read. "
            "trainer=ddp goes with both."
        )
    devices = torch.cuda.device_count() if options.devices == -1 else options.devices
    if gpu and devices > torch.cuda.device_count():
        raise ValueError(f"trainer.devices={devices}, but torch sees {torch.cuda.device_count()} GPU(s) here.")
    ranks = devices * options.num_nodes
    if ranks > 1 and model.layerdrop > 0 and model.gradient_checkpointing:
        raise ValueError(
            f"model.layerdrop={model.layerdrop} with model.gradient_checkpointing=true on {ranks} devices: "
            "each drops other layers, recomputing them waits for gradients that never come, and the run hangs "
            "or fails (transformers #30113). Pass model.layerdrop=0 or model.gradient_checkpointing=false."
        )
    return devices


def build_strategy(options: TrainerConfig, model: CtcModel, some_unused: bool) -> str | Strategy:
    """Lightning's name for the strategy, or the strategy.

    Args:
        some_unused: whether there are steps in which a trained weight gets no gradient: its layer is dropped, or the
            encoder still frozen.
    """
    if options.strategy == "fsdp":
        # A layer of the transformer is gathered, used and let go; the rest is small. Checkpoints are whole, as without.
        layers = {type(layer) for layer in model.encoder.encoder.layers}
        return FSDPStrategy(auto_wrap_policy=layers, state_dict_type="full")
    if options.devices * options.num_nodes == 1 and options.strategy == "auto":
        return "auto"
    # A weight that is left out has no gradient to wait for.
    return "ddp_find_unused_parameters_true" if some_unused else "ddp"
