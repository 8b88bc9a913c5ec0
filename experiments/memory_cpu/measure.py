"""Memory and speed of training on a CPU with batches of varied lengths, by how the C library treats freed memory.

    python -m experiments.memory_cpu.measure default|keep|hybrid|transformers [--steps 60] [--round 1] [--zero]

Trains the model of `experiment=speed_peer`, or transformers' with glibc's default, on random batches of 16 utterances
of 1 to 5 s, and prints a line of CSV: setting, steps, s of audio/s, GiB at the peak, GiB after each quarter of the
steps, seconds of processor time.
"""

import argparse
import ctypes
import resource
import time
from pathlib import Path

import numpy as np
import torch

from experiments.speed.peer import to_transformers
from khasr.config import compose
from khasr.data.batching import TrainingOrder
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.weights import load_start

LIBRARY = ctypes.CDLL(None)
LIBRARY.malloc.restype = ctypes.c_void_p
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # glibc's mallopt(3)
_SYMBOLS, _STEP, _WARM_UP = 12, 1_234_577, 3


def set_allocator(setting: str) -> None:
    """Sets glibc's allocator: `keep` never returns memory, `hybrid` only blocks of 32 MiB that do not fit its heap."""
    if setting == "keep":
        LIBRARY.mallopt(_MMAP_MAX, 0)
    if setting == "hybrid":
        LIBRARY.mallopt(_MMAP_THRESHOLD, 2**25)
    if setting in ("keep", "hybrid"):
        LIBRARY.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def resident_gib() -> float:
    """Resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**30


def main() -> None:
    """Trains and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=["default", "keep", "hybrid", "transformers"])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--round", type=int, default=1, help="pad lengths to multiples of this many samples")
    parser.add_argument("--zero", action="store_true", help="keep gradients and set them to 0")
    arguments = parser.parse_args()
    set_allocator(arguments.setting)
    options = compose("experiment=speed_peer", "data.root=none").model
    torch.manual_seed(0)
    model = CtcModel(load_start(options).encoder, _SYMBOLS, options).train()
    theirs = to_transformers(model).train() if arguments.setting == "transformers" else None
    optimizer = torch.optim.AdamW((theirs or model).parameters(), 1e-4)
    lengths = (16_000 * np.random.default_rng(0).uniform(1, 5, 1500)).astype(int)
    order = TrainingOrder(lengths.tolist(), 16, by_length=True, seed=0)
    order.set_steps(arguments.steps)
    kept: list[str] = []
    seconds, begun = 0.0, time.perf_counter()
    for step, places in enumerate(order):
        if step == _WARM_UP:
            seconds, begun = 0.0, time.perf_counter()
        own = torch.tensor([int(lengths[index]) for _, index in places])
        longest = -(-int(own.max()) // arguments.round) * arguments.round
        waveforms, labels = torch.randn(len(own), longest), torch.full((len(own),), 8)
        targets = torch.randint(1, _SYMBOLS, (len(own), 8))
        if theirs is not None:
            mask = (torch.arange(longest) < own[:, None]).long()
            loss = theirs(waveforms, attention_mask=mask, labels=targets).loss
        else:
            log_probs, frames = model(waveforms, own)
            loss = ctc_losses(log_probs, frames, targets, labels).mean()
        optimizer.zero_grad(set_to_none=not arguments.zero)
        loss.backward()
        optimizer.step()
        seconds += float(own.sum()) / 16_000
        LIBRARY.free(ctypes.c_void_p(LIBRARY.malloc(_STEP)))  # a mark in traces
        if (step + 1) % (arguments.steps // 4) == 0:
            kept.append(f"{resident_gib():.2f}")
    speed = seconds / (time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    words = [arguments.setting, *(["zero"] if arguments.zero else [])]
    words += [f"round {arguments.round}"] if arguments.round > 1 else []
    row = [
        " ".join(words),
        arguments.steps,
        f"{speed:.1f}",
        f"{peak:.2f}",
        " ".join(kept),
        f"{time.process_time():.0f}",
    ]
    print(",".join(map(str, row)), flush=True)


if __name__ == "__main__":
    main()
