"""Predictions for a run on a GPU that need not exist: memory per device, time per epoch, and what to change."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from khasr.config import Config, LoraConfig
from khasr.data.audio import SAMPLE_RATE
from khasr.data.datamodule import CorpusDataModule
from khasr.model.footprint import Footprint
from khasr.training.combinations import check_combinations
from khasr.training.prediction import batches_of, memory_by_use, predict
from khasr.training.recomputation import FILLED, choose_recomputation

# Share of a GPU's peak that training reaches: 25 to 40 % is usual for transformers of this size.
_UTILISATION = 0.3


@dataclass(frozen=True)
class Gpu:
    """A GPU: its usable memory in GiB, and its peak in TFLOPS, in bf16 or fp16 and in fp32 (vendors' data sheets)."""

    name: str
    memory: float
    half: float
    single: float


GPUS = {
    "l4": Gpu("NVIDIA L4", 22.0, 121, 30),
    "rtx_3090": Gpu("NVIDIA RTX 3090", 23.6, 71, 36),
    "rtx_4090": Gpu("NVIDIA RTX 4090", 23.6, 165, 83),
    "a100_40gb": Gpu("NVIDIA A100 40 GB", 39.4, 312, 19.5),
    "l40s": Gpu("NVIDIA L40S", 44.5, 362, 92),
    "a100_80gb": Gpu("NVIDIA A100 80 GB", 79.1, 312, 19.5),
    "h100": Gpu("NVIDIA H100 80 GB", 79.1, 989, 67),
    "h200": Gpu("NVIDIA H200", 139.8, 989, 67),
}


class Change(NamedTuple):
    """Options that need less memory, as words of the command line and as a change of the options."""

    words: str
    apply: Callable[[Config], None]


def changes(config: Config) -> Iterator[list[Change]]:
    """Changes to try, alone and together, those first that cost the least."""
    recompute = [] if config.model.gradient_checkpointing else [_set("model.gradient_checkpointing", True)]
    smaller = [[_smaller_batch(config, parts)] for parts in (2, 4, 8)]
    optimizers = [[_set("optimizer.name", name)] for name in ("adamw_8bit", "adafactor")]
    if recompute:
        yield recompute
    yield smaller[0]
    for more in (*optimizers, [Change("finetune=lora", _adapters)]):
        for less in ([], recompute, *(recompute + half for half in smaller)):
            yield [*more, *less]


def _set(option: str, value: Any) -> Change:
    section, name = option.split(".")
    words = f"{section}={value}" if name == "name" else f"{option}={str(value).lower()}"
    return Change(words, lambda config: setattr(getattr(config, section), name, value))


def _adapters(config: Config) -> None:
    config.finetune = LoraConfig()


def _smaller_batch(config: Config, parts: int) -> Change:
    """As many utterances in an optimizer step, in more batches."""
    seconds, size, accumulate = (
        config.data.batch_seconds,
        config.data.batch_size,
        config.trainer.accumulate_grad_batches,
    )
    name, value = ("batch_size", max(1, size // parts)) if seconds is None else ("batch_seconds", seconds / parts)
    batches = accumulate * (parts if seconds is not None else math.ceil(size / value))

    def apply(changed: Config) -> None:
        setattr(changed.data, name, value)
        changed.trainer.accumulate_grad_batches = batches

    return Change(f"data.{name}={value:g} trainer.accumulate_grad_batches={batches}", apply)


def print_plan(config: Config, gpu_name: str) -> None:
    """Prints the predictions for the composed options.

    Raises:
        ValueError: an unknown GPU, options that cannot be combined, or a run that does not fit.
    """
    if gpu_name not in GPUS:
        raise ValueError(f"trainer.plan={gpu_name}: expected one of {', '.join(GPUS)}.")
    if config.trainer.devices == -1:
        raise ValueError("trainer.plan needs the number of GPUs, for example trainer.devices=8.")
    console = Console(highlight=False, markup=False)
    gpu, devices = GPUS[gpu_name], config.trainer.devices * config.trainer.num_nodes
    check_combinations(config, devices)
    data = CorpusDataModule(config.data, config.seed, config.trainer.accumulate_grad_batches)
    data.prepare(progress=False)
    recompute, choice = choose_recomputation(config, data, gpu.memory)
    config = replace(config, model=replace(config.model, gradient_checkpointing=recompute))
    batches, symbols = batches_of(config, data), len(data.vocabulary)
    footprint = predict(config, batches.utterances, batches.samples, symbols)
    uses = memory_by_use(config, footprint, devices)
    total = sum(uses.values())

    console.print(f"Predicted for {devices} x {gpu.name}; nothing was measured.")
    if choice:
        console.print(choice, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("per device", "GiB"):
        table.add_column(column, justify="left" if column == "per device" else "right")
    for use, size in uses.items():
        table.add_row(use, f"{size:.1f}")
    table.add_row("all", f"{total:.1f} of {gpu.memory:.1f}")
    console.print(table)
    peak = gpu.single if config.precision.name == "fp32" else gpu.half
    speed = _UTILISATION * peak * 1e12 / (footprint.flops / footprint.seconds)
    epochs = config.trainer.max_epochs
    if config.trainer.max_steps:
        epochs = config.trainer.max_steps / data.training_order(ranks=devices).steps_per_epoch
    console.print(
        f"Largest batch: {batches.utterances} x {batches.samples / SAMPLE_RATE:.1f} s. "
        f"{footprint.flops / footprint.seconds / 1e12:.2f} TFLOP per second of audio; at {_UTILISATION:.0%} of "
        f"{peak:g} TFLOPS {devices * speed:.0f} s of audio/s, {batches.seconds / speed / 60:.1f} min per epoch, "
        f"{epochs * batches.seconds / speed / 3600:.1f} h for {epochs:g} epochs.",
        soft_wrap=True,
    )
    if total > FILLED * gpu.memory:
        raise ValueError(_what_to_change(config, data, gpu, symbols, devices))


def _what_to_change(config: Config, data: CorpusDataModule, gpu: Gpu, symbols: int, devices: int) -> str:
    tried: dict[tuple[Any, ...], Footprint] = {}
    limit = f" ({FILLED:.0%} may be filled: CTC, validation and gaps between blocks are not counted)"
    for together in changes(config):
        changed = copy.deepcopy(config)
        for change in together:
            change.apply(changed)
        try:
            check_combinations(changed, devices)
            batches = batches_of(changed, data)
        except ValueError:  # a longest utterance that does not fit into the batch, or an optimizer that fsdp refuses
            continue
        step = (changed.model.gradient_checkpointing, changed.finetune.name, batches.utterances, batches.samples)
        if step not in tried:
            tried[step] = predict(changed, batches.utterances, batches.samples, symbols)
        total = sum(memory_by_use(changed, tried[step], devices).values())
        if total <= FILLED * gpu.memory:
            return (
                f"It does not fit{limit}. It would, at {total:.1f} GiB, with: "
                f"{' '.join(change.words for change in together)}"
            )
    return (
        f"It does not fit{limit}, and would not with recomputed activations, an eighth of the batch, and another "
        "optimizer or adapters. Use a larger GPU, trainer=fsdp with several, or a smaller model."
    )
