"""The cost of the instruments: blocks of ten steps with and without them, in turn, within one training run.

python cost.py FOLDER   a folder for data=folder; the run and its numbers are left in runs/cost_NAME
"""

import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

import khasr.training.module as module_of_steps
from khasr.config import Config, compose
from khasr.data.audio import SAMPLE_RATE
from khasr.run.folder import RunFolder
from khasr.training import trainer as trainer_module
from khasr.training.fit import fit
from khasr.training.instruments import Instruments

BLOCK = 10  # steps: one row of metrics per block, as with trainer.log_every_steps=10
HERE = Path(__file__).resolve().parent
XLSR_300M_4 = (
    "model.architecture={hidden_size:1024,layers:4,heads:16,intermediate_size:4096,conv_dim:[512,512,512,512,512,512,512],"
    "conv_kernel:[10,3,3,3,3,2,2],conv_stride:[5,2,2,2,2,2,2],pos_conv_kernel:128,pos_conv_groups:16}"
)
RUNS = {
    "tiny, batches of 4": ([], 400),
    "XLS-R 300M's shape at 4 layers, feature encoder frozen, batches of 4": (
        [XLSR_300M_4, "finetune=feature_encoder_frozen"],
        60,
    ),
}
_HOOKS = [
    "on_train_batch_start", "on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_train_batch_end"
]  # fmt: skip


class Switch(pl.Callback):
    """Switches the instruments off for every other block of steps, and times the blocks.

    By the processor's time, not the clock's: what else the machine does is then not counted.
    """

    def __init__(self) -> None:
        self.on = True
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self._since, self._audio = 0.0, 0.0
        self.drift: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.process_time()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._audio += batch.waveforms.numel() / SAMPLE_RATE
        if trainer.global_step % BLOCK == 0:
            now = time.process_time()
            self.seconds[self.on].append((now - self._since) / self._audio)
            self.on = not self.on
            self._audio = 0.0
            self._since = time.process_time()


def without(switch: Switch) -> None:
    """Replaces the instruments by functions that do nothing while the switch is off."""
    blanks, clip, row, drift = (
        module_of_steps.count_blanks,
        module_of_steps.clip_gradients,
        Instruments.row,
        Instruments.drift,
    )

    def no_blanks(log_probs: Any, lengths: Any) -> Any:
        return blanks(log_probs, lengths) if switch.on else torch.zeros(())

    def plain_clip(model: Any, part: Any, largest: float, sharded: bool) -> torch.Tensor:
        if switch.on:
            return clip(model, part, largest, sharded)
        norm = torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], largest)
        return torch.cat([norm[None], torch.zeros(len(set(part.values())))])

    def timed_drift(self: Instruments, *arguments: Any) -> dict[str, float]:
        since = time.process_time()
        found = drift(self, *arguments)
        switch.drift.append(time.process_time() - since)
        return found

    module_of_steps.count_blanks, module_of_steps.clip_gradients = no_blanks, plain_clip
    Instruments.row = lambda self, step, window: row(self, step, window) if switch.on else {}
    Instruments.drift = timed_drift
    for hook in _HOOKS:
        original = getattr(Instruments, hook)
        setattr(Instruments, hook, lambda self, *a, _o=original, **k: _o(self, *a, **k) if switch.on else None)


def measure(name: str, config: Config, folder: Path) -> str:
    switch = Switch()
    kept = {hook: getattr(Instruments, hook) for hook in [*_HOOKS, "row", "drift"]}
    kept_of_module = module_of_steps.count_blanks, module_of_steps.clip_gradients
    build = trainer_module.build_trainer

    def with_switch(config: Any, folder: Any, steps: int, callbacks: list[Any], *rest: Any) -> pl.Trainer:
        # Before Checkpoints, after the row of metrics.
        return build(config, folder, steps, [*callbacks[:2], switch, *callbacks[2:]], *rest)

    trainer_module.build_trainer = with_switch
    without(switch)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        fit(config, RunFolder(folder))
    finally:
        for hook, original in kept.items():
            setattr(Instruments, hook, original)
        module_of_steps.count_blanks, module_of_steps.clip_gradients = kept_of_module
        trainer_module.build_trainer = build
    on, off = (switch.seconds[flag][1:] for flag in (True, False))  # the first of each warms up
    # Consecutive blocks are compared, because other work on the machine affects both.
    ratio = statistics.median(a / b for a, b in zip(on, off, strict=False))
    drift = statistics.median(switch.drift)
    step = 10 * statistics.median(off)  # of 10 s of audio: about a batch of 4
    return (
        f"| {name} | {len(off)} | {100 * step:.1f} | {1000 * statistics.median(on):.1f} | {100 * (ratio - 1):+.1f} | "
        f"{1000 * drift:.0f} | {100 * drift / (400 * step):.2f} |"
    )


def main() -> None:
    print("| model | pairs | ms of CPU per s of audio without | with | median ratio, % | drift, ms | of 400 steps, % |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for number, (name, (changes, steps)) in enumerate(RUNS.items()):
        config = compose(
            "experiment=quickstart", "data=folder", f"data.root='{sys.argv[1]}'", "seed=1", "score_test=false",
            "trainer.progress_bar=false", "data.val_share=0.02", f"trainer.max_steps={steps}",
            f"trainer.val_every_steps={steps}", *changes,
        )  # fmt: skip
        print(measure(name, config, HERE / f"runs/cost_{number}"), flush=True)


if __name__ == "__main__":
    main()
