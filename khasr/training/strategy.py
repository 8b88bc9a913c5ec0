"""Lightning's strategy of a run: one device, the whole model on each (DDP), or a shard of it on each (FSDP)."""

import torch
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, Strategy
from torch.distributed.fsdp import MixedPrecision

from khasr.config import TrainerConfig
from khasr.model.ctc import CtcModel


def build_strategy(options: TrainerConfig, model: CtcModel, some_unused: bool) -> str | Strategy:
    """The strategy, or Lightning's name for it.

    Args:
        some_unused: whether a trained weight may get no gradient in a step, because its layer is dropped or the
            encoder is frozen.
    """
    if options.strategy == "fsdp":
        # Weights are gathered and gradients are reduced in float32, and autocast chooses the type of each operation, as
        # on a single GPU; Lightning's own choice for bf16 reduces gradients in bfloat16.
        whole = MixedPrecision(param_dtype=torch.float32, reduce_dtype=torch.float32, buffer_dtype=torch.float32)
        # Shards the layers of the transformer; the rest is small. Checkpoints are not sharded. With use_orig_params the
        # parameters keep their names, by which the optimizer's groups are chosen.
        return FSDPStrategy(
            auto_wrap_policy={type(layer) for layer in model.encoder.encoder.layers},
            mixed_precision=whole,
            state_dict_type="full",
            use_orig_params=True,
        )
    if options.devices * options.num_nodes == 1 and options.strategy == "auto":
        return "auto"
    # Without find_unused_parameters DDP waits for the gradient of every weight. As views of DDP's buckets, gradients
    # are not held twice.
    return DDPStrategy(find_unused_parameters=some_unused, gradient_as_bucket_view=True)
