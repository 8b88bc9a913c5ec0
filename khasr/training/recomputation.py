"""Whether activations are recomputed in the backward pass, chosen by predicted memory."""

from dataclasses import replace

import torch
from transformers import PreTrainedConfig

from khasr.config import Config, TrainerConfig
from khasr.data.datamodule import CorpusDataModule
from khasr.run.memory import available_memory_gib
from khasr.run.results import uses_gpu
from khasr.training.prediction import batches_of, memory_by_use, predict

# Share of the memory that a prediction may fill: CTC, validation and gaps between blocks are not counted.
FILLED = 0.85


def usable_memory_gib(options: TrainerConfig) -> float:
    """GiB for each device: of the smallest GPU, or a share of this machine's memory for each process on a CPU."""
    if uses_gpu(options):
        sizes = [torch.cuda.get_device_properties(gpu).total_memory for gpu in range(torch.cuda.device_count())]
        return min(sizes) / 2**30
    return available_memory_gib() / options.devices


def choose_recomputation(
    config: Config, data: CorpusDataModule, memory: float, shape: PreTrainedConfig | None = None, as_saved: bool = False
) -> tuple[bool, str]:
    """Whether to recompute activations, and a sentence on it; the sentence is empty if the options state it.

    Args:
        memory: of a device, in GiB.
        shape: of the encoder; that of the options if None.
        as_saved: the shape is that of a run's checkpoint, whose layers were dropped before.
    """
    asked, ranks = config.model.gradient_checkpointing, config.trainer.devices * config.trainer.num_nodes
    if isinstance(asked, bool):
        return asked, ""
    if config.model.layerdrop > 0 and ranks > 1:
        return False, (
            "activations are kept (model.gradient_checkpointing=auto): with model.layerdrop they cannot be recomputed "
            "on several devices"
        )
    kept = replace(config, model=replace(config.model, gradient_checkpointing=False))
    batches = batches_of(kept, data)
    footprint = predict(kept, batches.utterances, batches.samples, len(data.vocabulary), shape, as_saved)
    needed = sum(memory_by_use(kept, footprint, ranks).values())
    recompute = needed > FILLED * memory
    return recompute, (
        f"activations are {'recomputed' if recompute else 'kept'} (model.gradient_checkpointing=auto): with kept ones "
        f"the largest batch needs about {needed:.1f} of {memory:.1f} GiB"
    )
