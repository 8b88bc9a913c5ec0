"""Compares khasr's training step with that of transformers' Trainer, with the same weights and the same batches.

    python experiments/parity/parity.py [--steps 50]

The model is a small wav2vec 2.0 of XLS-R's kind (layer norms in the feature encoder, pre-norm layers), its feature
encoder frozen, no dropout, no masks: what is left is the loss, the accumulation, the clipping, AdamW and the schedule.
"""

import argparse
import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, Wav2Vec2Config, Wav2Vec2ForCTC
from transformers.utils import logging as transformers_logging

from khasr.config import Config, compose
from khasr.data.batching import Batch, Example, collate
from khasr.model.ctc import CtcModel
from khasr.model.finetune import apply_finetune
from khasr.model.weights import load_start
from khasr.run.folder import RunFolder
from khasr.text.vocabulary import Vocabulary
from khasr.training.checkpoint_files import CheckpointFiles
from khasr.training.module import CtcModule
from khasr.training.trainer import build_trainer

ACCUMULATE, BATCH, SYMBOLS = 4, 2, "កខគងច "
RECIPE = [
    "experiment=card_1b", "precision=fp32", "model.init=random", "model.gradient_checkpointing=false",
    "model.mask_time_prob=0", "model.mask_feature_prob=0", "model.activation_dropout=0",
    "model.architecture={hidden_size:32,layers:3,heads:2,intermediate_size:64,conv_dim:[16,16,16,16,16,16,16],pos_conv_kernel:8,pos_conv_groups:2}",
    "schedule.warmup=20", "optimizer.lr=1e-3", "optimizer.weight_decay=0.01",
    f"trainer.accumulate_grad_batches={ACCUMULATE}", f"data.batch_size={BATCH}", "trainer.accelerator=cpu",
    # This model's gradient norms are 10 to 90. If all steps were clipped, as at 1, the mean and the sum of the
    # accumulated loss would give the same run.
    "trainer.gradient_clip_norm=30",
]  # fmt: skip


@dataclass
class Steps:
    """The loss of each optimizer step over its batches, the gradient norm before clipping, and the lr."""

    loss: list[float]
    grad_norm: list[float]
    lr: list[float]


def make_examples(vocabulary: Vocabulary, count: int, dtype: torch.dtype) -> list[Example]:
    """Noise of 0.3 to 1 s with 1 to 8 symbols of text; the same for each dtype."""
    rng = np.random.default_rng(0)
    examples = []
    for i in range(count):
        text = "".join(rng.choice(list(SYMBOLS), rng.integers(1, 9)))
        wave = rng.standard_normal(rng.integers(5_000, 16_000))
        examples.append(Example(f"u{i}", text, torch.tensor(wave, dtype=dtype), torch.tensor(vocabulary.encode(text))))
    return examples


class Recorder(pl.Callback):
    """Records each optimizer step of a CtcModule."""

    def __init__(self) -> None:
        self.steps = Steps([], [], [])
        self._losses: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Records the lr of the step."""
        self.steps.lr.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Records the loss of the batch, and the gradient norm from the window."""
        self._losses.append(pl_module.last_loss.item())
        if (batch_idx + 1) % ACCUMULATE == 0:
            self.steps.loss.append(float(np.mean(self._losses[-ACCUMULATE:])))
            self.steps.grad_norm.append(pl_module.window.read()["grad_norm"] - sum(self.steps.grad_norm))


def ours(config: Config, model: CtcModel, vocabulary: Vocabulary, batches: list[Batch], folder: Path) -> Steps:
    """The steps of a CtcModule under khasr's own trainer."""
    total = len(batches) // ACCUMULATE
    apply_finetune(model, config.finetune, config.model)
    module = CtcModule(
        model, vocabulary, config.optimizer, config.schedule, total_steps=total, seed=0,
        loss_scale=ACCUMULATE if config.trainer.accumulated_loss == "sum" else 1.0, description={},
    )  # fmt: skip
    recorder = Recorder()
    trainer = build_trainer(config, RunFolder(folder), total, [recorder], [], CheckpointFiles(in_background=False))
    module.train()
    trainer.fit(module, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return recorder.steps


class _Theirs(Trainer):
    """transformers' Trainer, which reads in order and records each batch's loss before it is summed and rounded."""

    losses: list[float]

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def training_step(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **keywords)
        self.losses.append(loss.item())
        return loss


class _Noting(TrainerCallback):
    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        self._steps.lr.append(keywords["optimizer"].param_groups[0]["lr"])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **keywords: Any) -> None:
        if logs and "grad_norm" in logs:
            self._steps.grad_norm.append(float(logs["grad_norm"]))


class _Examples(Dataset[Example]):
    def __init__(self, examples: list[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def _their_batch(examples: list[Example]) -> dict[str, torch.Tensor]:
    batch = collate(examples)
    inside = torch.arange(batch.waveforms.shape[1]) < batch.waveform_lengths[:, None]
    spoken = torch.arange(batch.targets.shape[1]) < batch.target_lengths[:, None]
    return {
        "input_values": batch.waveforms,
        "attention_mask": inside.long(),
        "labels": batch.targets.masked_fill(~spoken, -100),
    }


def theirs(config: Config, model: Wav2Vec2ForCTC, examples: list[Example], folder: Path, divide: bool) -> Steps:
    """The steps of transformers' Trainer.

    Args:
        divide: have it divide the loss by the number of accumulated batches, as it did up to version 4.45 or so; for a
            model whose forward takes keywords, as Wav2Vec2ForCTC's does now, it takes that to be done already.
    """
    steps = Steps([], [], [])
    optimizer, first_beta, second_beta = config.optimizer, *config.optimizer.betas
    trainer = _Theirs(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=ACCUMULATE,
            max_steps=len(examples) // BATCH // ACCUMULATE,
            optim="adamw_torch",
            learning_rate=optimizer.lr,
            weight_decay=optimizer.weight_decay,
            adam_epsilon=optimizer.eps,
            adam_beta1=first_beta,
            adam_beta2=second_beta,
            lr_scheduler_type="linear",
            warmup_steps=int(config.schedule.warmup),
            max_grad_norm=config.trainer.gradient_clip_norm,
            logging_steps=1,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=_Examples(examples),
        data_collator=_their_batch,
        callbacks=[_Noting(steps)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.losses = []
    if divide:
        trainer.model_accepts_loss_kwargs = False
    trainer.train()
    parts = np.asarray(trainer.losses).reshape(-1, ACCUMULATE)
    # The loss of the step: a sum over batches, divided by their number or not.
    steps.loss = parts.sum(axis=1).tolist()
    return steps


def compare(config: Config, dtype: torch.dtype, steps: int) -> dict[str, float]:
    """The largest relative difference of each quantity over the steps, of a configuration that RECIPE composes to."""
    accumulated = config.trainer.accumulated_loss
    vocabulary = Vocabulary.of_texts([SYMBOLS])
    torch.manual_seed(0)
    model = CtcModel(load_start(config.model).encoder, len(vocabulary), config.model).to(dtype)
    fields = model.encoder.config.to_dict() | {
        "vocab_size": len(vocabulary), "pad_token_id": 0, "ctc_loss_reduction": "mean", "ctc_zero_infinity": True,
        "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "final_dropout": 0.0, "layerdrop": 0.0,
    }  # fmt: skip
    peer = Wav2Vec2ForCTC(Wav2Vec2Config(**fields)).to(dtype)
    names = {f"wav2vec2.{k}": v for k, v in model.encoder.state_dict().items()}
    names |= {f"lm_head.{k}": v for k, v in model.head.state_dict().items()}
    # Without masks it has no mask embedding.
    peer.load_state_dict({k: v for k, v in names.items() if not k.endswith("masked_spec_embed")})
    peer.freeze_feature_encoder()
    examples = make_examples(vocabulary, steps * ACCUMULATE * BATCH, dtype)
    batches = [collate(examples[i : i + BATCH]) for i in range(0, len(examples), BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        mine = ours(config, model, vocabulary, batches, Path(folder))
        other = theirs(config, peer, examples, Path(folder), divide=accumulated == "mean")
    scale = ACCUMULATE if accumulated == "sum" else 1  # khasr always reports the mean
    norms = np.asarray(mine.grad_norm)
    return {
        "loss": _difference(scale * np.asarray(mine.loss), other.loss),
        "gradient norm": _difference(norms, other.grad_norm),
        "lr": _difference(mine.lr, other.lr),
        "first loss": mine.loss[0],
        "last loss": mine.loss[-1],
        "least norm": float(norms.min()),
        "largest norm": float(norms.max()),
        "clipped": float(np.mean(norms > config.trainer.gradient_clip_norm)),
    }


def _difference(a: Any, b: Any) -> float:
    """The largest relative difference of two sequences of equal length."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-300)))


def quieten() -> None:
    """Silences both trainers."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    transformers_logging.set_verbosity_error()


def main() -> None:
    """Prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=50)
    steps = arguments.parse_args().steps
    quieten()
    print("| type | accumulated loss | loss | gradient norm | lr | loss, first to last | norms | steps clipped |")
    print("| --- | --- | ---: | ---: | ---: | --- | --- | ---: |")
    for dtype in (torch.float64, torch.float32):
        for accumulated in ("mean", "sum"):
            found = compare(compose(*RECIPE, f"trainer.accumulated_loss={accumulated}"), dtype, steps)
            numbers = " | ".join(f"{found[name]:.1e}" for name in ("loss", "gradient norm", "lr"))
            print(
                f"| {str(dtype).removeprefix('torch.')} | {accumulated} | {numbers} "
                f"| {found['first loss']:.2f} to {found['last loss']:.2f} "
                f"| {found['least norm']:.0f} to {found['largest norm']:.0f} | {found['clipped']:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
