"""The speed of the training step with each optimization added in turn, in seconds of audio per second.

    python experiments/speed/gains.py [--rounds 3] [--steps 12] OVERRIDE...

The overrides are those of `python -m khasr.train`. Each row adds one change to the row before; each is timed in a
separate process, the rows in turn. The numerical difference is from transformers' Wav2Vec2ForCTC with the same
weights, on one batch without dropout: of the log-probabilities, and of the gradient over its norm.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from peer import to_transformers
from torch import Tensor, nn
from torch.nn import functional as F

import khasr.model.ctc
import khasr.model.encoders
from khasr.config import compose
from khasr.data.batching import Batch
from khasr.data.datamodule import CorpusDataModule
from khasr.model.allocator import set_allocator
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.feature_cache import build_feature_cache
from khasr.model.finetune import apply_finetune
from khasr.model.weights import build_model, load_start
from khasr.optim.parameters import build_optimizer

ROWS = [
    "transformers' module, batches by length",
    "+ the feature encoder as matrix products",
    "+ freed memory is kept",
    "+ four dropout elements per random number",
    "+ outputs of the frozen feature encoder are cached",
    "+ bf16",
]
WARM_UP = 3


def measure(row: int, overrides: list[str], steps: int) -> dict[str, float]:
    """Seconds of audio per second of a row, its peak memory, and the difference of its outputs from transformers'."""
    config = compose(*overrides)
    if row < 1:
        khasr.model.encoders.encode_features = lambda encoder, waveforms, _: encoder(waveforms).transpose(1, 2)
    if row < 3:
        khasr.model.ctc.use_own_dropout = lambda encoder: None
        khasr.model.ctc.Dropout = nn.Dropout
    data = CorpusDataModule(config.data, config.seed)
    data.prepare(progress=False)
    pl.seed_everything(config.seed, verbose=False)
    model, vocabulary, _ = build_model(load_start(config.model), data.vocabulary, config.model, "new")
    if row >= 2:
        set_allocator(model)
    data.use_vocabulary(vocabulary)
    data.set_steps(steps + WARM_UP)
    batches = list(data.train_dataloader())
    apply_finetune(model, config.finetune, config.model)
    cache = build_feature_cache(model, config.model, config.data.augment, data.parts["train"].lengths)
    cache = cache if row >= 4 else None
    optimizer = build_optimizer(config.optimizer, model)
    autocast = torch.autocast("cpu", torch.bfloat16) if row >= 5 else nullcontext()

    def step(batch: Batch) -> None:
        with autocast:
            features = None
            if cache is not None:
                encoder = model.encoder.feature_extractor
                features = cache.features(encoder, batch.waveforms, batch.waveform_lengths, batch.ids)
            log_probs, frames = model(batch.waveforms, batch.waveform_lengths, features)
            loss = ctc_losses(log_probs, frames, batch.targets, batch.target_lengths).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.trainer.gradient_clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    found = _difference(model, batches[0], autocast)
    model.train()
    if cache is not None:  # only epochs after the first are of interest
        with autocast:
            for batch in batches:
                cache.features(model.encoder.feature_extractor, batch.waveforms, batch.waveform_lengths, batch.ids)
    for batch in batches[:WARM_UP]:
        step(batch)
    since = time.perf_counter()
    for batch in batches[WARM_UP:]:
        step(batch)
    seconds = time.perf_counter() - since
    found["speed"] = sum(batch.audio_seconds for batch in batches[WARM_UP:]) / seconds
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found


def _difference(model: CtcModel, batch: Batch, autocast: Any) -> dict[str, float]:
    model.eval()  # no dropout, no masks
    theirs = to_transformers(model).eval()
    inside = torch.arange(batch.waveforms.shape[1]) < batch.waveform_lengths[:, None]
    spoken = torch.arange(batch.targets.shape[1]) < batch.target_lengths[:, None]
    out = theirs(batch.waveforms, attention_mask=inside.long(), labels=batch.targets.masked_fill(~spoken, -100))
    out.loss.backward()
    with autocast:
        log_probs, frames = model(batch.waveforms, batch.waveform_lengths)
        loss = ctc_losses(log_probs, frames, batch.targets, batch.target_lengths).mean()
    loss.backward()
    inside_frames = torch.arange(log_probs.shape[1]) < frames[:, None]
    apart = (log_probs - F.log_softmax(out.logits.float(), dim=-1)).abs()[inside_frames].max().item()
    their_gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    pairs: list[tuple[Tensor, Tensor]] = []
    for name, parameter in model.named_parameters():
        other = their_gradients.get(
            name.replace("encoder.", "wav2vec2.", 1) if name.startswith("encoder.") else f"lm_{name}"
        )
        if parameter.grad is not None and other is not None:
            pairs.append((parameter.grad, other))
    norm: Callable[[list[Tensor]], float] = lambda tensors: torch.cat([t.flatten() for t in tensors]).norm().item()  # noqa: E731
    gradient = norm([a - b for a, b in pairs]) / norm([b for _, b in pairs])
    model.zero_grad()
    return {"log_probs": apart, "gradient": gradient}


def main() -> None:
    """Times the rows in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row is not None:
        print(json.dumps(measure(arguments.row, arguments.overrides, arguments.steps)))
        return
    frozen = compose(*arguments.overrides).finetune.freeze_feature_encoder
    rows = range(len(ROWS) if frozen else 4)
    found: dict[int, list[dict[str, float]]] = {row: [] for row in rows}
    for _ in range(arguments.rounds):
        for row in rows:
            command = [sys.executable, __file__, f"--row={row}", f"--steps={arguments.steps}", *arguments.overrides]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[row].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{' '.join(arguments.overrides)}: {arguments.rounds} rounds of {arguments.steps} steps, medians\n")
    print("| | s of audio/s | times the first row | peak, GiB | log-probabilities | gradient |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        median = {key: statistics.median(each[key] for each in found[row]) for key in found[row][0]}
        ratio = statistics.median(
            mine["speed"] / first["speed"] for mine, first in zip(found[row], found[0], strict=True)
        )
        print(
            f"| {ROWS[row]} | {median['speed']:.1f} | {ratio:.2f} | {median['peak']:.2f} | {median['log_probs']:.0e} "
            f"| {median['gradient']:.0e} |"
        )


if __name__ == "__main__":
    main()
