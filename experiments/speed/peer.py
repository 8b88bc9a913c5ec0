"""Trains with transformers' Trainer and Wav2Vec2ForCTC on the corpus, split and initial weights of a khasr run.

    python experiments/speed/peer.py OUT.json OVERRIDE...

The overrides are those of `python -m khasr.train`. The waveforms are in memory before the clock starts and batches are
grouped by length, so that the Trainer is at its best. OUT.json gets the seconds and the audio of each epoch, the loss
of each step, the hypotheses of the test part, and the peak of memory.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, Wav2Vec2Config, Wav2Vec2ForCTC

from khasr.config import compose
from khasr.data.audio import SAMPLE_RATE
from khasr.data.batching import Example, collate
from khasr.data.datamodule import CorpusDataModule
from khasr.data.parts import PartDataset
from khasr.decoding.greedy import decode_greedy
from khasr.model.ctc import CtcModel
from khasr.model.weights import build_model, load_start
from khasr.optim.schedules import in_steps


def to_transformers(model: CtcModel) -> Wav2Vec2ForCTC:
    """transformers' model with the same weights and dropouts."""
    fields = model.encoder.config.to_dict() | {
        "vocab_size": model.head.out_features, "pad_token_id": 0, "ctc_loss_reduction": "mean",
        "ctc_zero_infinity": True, "final_dropout": model.options.final_dropout, "apply_spec_augment": False,
        "mask_time_prob": 0.0, "mask_feature_prob": 0.0,
    }  # fmt: skip
    theirs = Wav2Vec2ForCTC(Wav2Vec2Config(**fields))
    names = {f"wav2vec2.{k}": v for k, v in model.encoder.state_dict().items() if not k.endswith("masked_spec_embed")}
    theirs.load_state_dict(names | {f"lm_head.{k}": v for k, v in model.head.state_dict().items()})
    return theirs


def their_batch(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Padded waveforms with their attention mask, and labels padded with -100, as in the CTC script of transformers."""
    batch = collate([e["example"] for e in examples])
    inside = torch.arange(batch.waveforms.shape[1]) < batch.waveform_lengths[:, None]
    spoken = torch.arange(batch.targets.shape[1]) < batch.target_lengths[:, None]
    labels = batch.targets.masked_fill(~spoken, -100)
    return {"input_values": batch.waveforms, "attention_mask": inside.long(), "labels": labels}


class Clock(TrainerCallback):
    """The seconds of each epoch and the loss of each step."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.losses: list[float] = []
        self._since = 0.0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock of the epoch."""
        self._since = time.perf_counter()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Records the seconds of the epoch."""
        self.epochs.append(time.perf_counter() - self._since)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Records the loss."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


def main() -> None:
    """Trains, recognises the test part and writes OUT.json."""
    out, config = Path(sys.argv[1]), compose(*sys.argv[2:])
    data = CorpusDataModule(config.data, config.seed, read_test=True)
    data.prepare(progress=False)
    pl.seed_everything(config.seed, verbose=False)
    model, vocabulary, _ = build_model(load_start(config.model), data.vocabulary, config.model, config.model.head)
    data.use_vocabulary(vocabulary)
    theirs = to_transformers(model)
    del model
    if config.finetune.freeze_feature_encoder:
        theirs.freeze_feature_encoder()
    part = PartDataset(data.parts["train"], vocabulary, config.data, config.seed)
    # Its grouping by length uses the length of the column input_ids.
    train = [{"input_ids": e.waveform, "example": e} for e in (part[(0, i)] for i in range(len(part)))]
    clock = Clock()
    optimizer = config.optimizer
    steps = config.trainer.max_steps or round(config.trainer.max_epochs * -(-len(train) // config.data.batch_size))
    trainer = Trainer(
        theirs,
        TrainingArguments(
            tempfile.mkdtemp(), per_device_train_batch_size=config.data.batch_size, max_steps=steps,
            learning_rate=optimizer.lr, adam_beta1=optimizer.betas[0], adam_beta2=optimizer.betas[1],
            adam_epsilon=optimizer.eps, weight_decay=optimizer.weight_decay, optim="adamw_torch",
            warmup_steps=in_steps(config.schedule.warmup, steps), lr_scheduler_type="linear",
            max_grad_norm=config.trainer.gradient_clip_norm, seed=config.seed, logging_steps=1, save_strategy="no",
            report_to=[], disable_tqdm=True, use_cpu=not torch.cuda.is_available(),
            bf16=config.precision.name == "bf16", remove_unused_columns=False,
            train_sampling_strategy="group_by_length",
        ),
        data_collator=their_batch,
        train_dataset=train,
        callbacks=[clock],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    theirs.eval()
    hypotheses = []
    listening = PartDataset(data.parts["test"], vocabulary, config.data)
    for begin in range(0, len(listening), config.data.eval_batch_size):
        examples: list[Example] = [
            listening[i] for i in range(begin, min(begin + config.data.eval_batch_size, len(listening)))
        ]
        batch = their_batch([{"example": e} for e in examples])
        with torch.no_grad():
            waveforms, mask = (batch[name].to(theirs.device) for name in ("input_values", "attention_mask"))
            logits = theirs(waveforms, attention_mask=mask).logits.cpu()
        frames = theirs._get_feat_extract_output_lengths(batch["attention_mask"].sum(dim=1))
        texts = decode_greedy(logits, frames, vocabulary)
        hypotheses += [(e.id, e.reference, text) for e, text in zip(examples, texts, strict=True)]
    out.write_text(
        json.dumps(
            {
                "epoch_seconds": clock.epochs,
                "audio_seconds_per_epoch": sum(data.parts["train"].lengths) / SAMPLE_RATE,
                "losses": clock.losses,
                "peak_gib": peak,
                "hypotheses": sorted(hypotheses),
            },
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
