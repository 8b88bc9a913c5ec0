"""Pretrains a small wav2vec 2.0 on speech without its text, by BEST-RQ (Chiu et al. 2022).

pretrain.py TWIN small OUT   trains on the train part of TWIN; OUT is a folder that model.checkpoint=OUT loads

Each frame's log-mel features are projected at random and looked up in a random codebook, neither ever trained; the
encoder reads the waveform with spans of frames masked and predicts the codes of the masked frames.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from khasr.config import ArchitectureConfig, ModelConfig, OpenslrKmConfig
from khasr.data.audio import FRAME_STRIDE, SAMPLE_RATE
from khasr.data.batching import Batch
from khasr.data.datamodule import CorpusDataModule
from khasr.model.encoders import encode_frames, frame_lengths, run_transformer
from khasr.model.masks import draw_spans
from khasr.model.weights import load_start

FRONT_END: dict[str, Any] = {
    "conv_kernel": [40, 8, 4],
    "conv_stride": [20, 4, 4],
    "pos_conv_kernel": 32,
    "pos_conv_groups": 4,
}
SHAPES = {
    "small": ArchitectureConfig(80, 3, 4, 240, conv_dim=[40, 80, 96], **FRONT_END),
    "large": ArchitectureConfig(128, 6, 4, 384, conv_dim=[56, 112, 128], **FRONT_END),
}
WINDOW = 420  # samples in the receptive field of a frame of the feature encoder
MELS, PROJECTED, CODES, CODEBOOKS = 40, 16, 512, 4
MASKED, SPAN = 0.6, 8  # share of frames, were there no overlaps; frames of 20 ms in a span
BATCH = 8


class RandomQuantiser(nn.Module):
    """Codes of each frame's log-mel features: random projections and random codebooks, made by the seed alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.projection = torch.randn(CODEBOOKS, MELS, PROJECTED, generator=draw) / math.sqrt(MELS)
        self.codebook = F.normalize(torch.randn(CODEBOOKS, CODES, PROJECTED, generator=draw), dim=-1)
        self.filters = melscale_fbanks(257, 60.0, 7600.0, MELS, SAMPLE_RATE)

    def forward(self, waveform: Tensor) -> Tensor:
        """(frames, codebooks) of a waveform, (samples,)."""
        frames = waveform.unfold(0, WINDOW, FRAME_STRIDE) * torch.hann_window(WINDOW)
        mel = (torch.fft.rfft(frames, 512).abs().square() @ self.filters + 1e-5).log()
        mel = (mel - mel.mean(dim=0)) / (mel.std(dim=0) + 1e-3)
        projected = F.normalize(torch.einsum("tm,cmp->ctp", mel, self.projection), dim=-1)
        return (projected @ self.codebook.transpose(1, 2)).argmax(dim=-1).T


class Pretrained(nn.Module):
    """The encoder with a linear layer for the codes."""

    def __init__(self, size: str) -> None:
        super().__init__()
        options = ModelConfig(name=size, checkpoint=None, init="random", architecture=SHAPES[size])
        options.activation_dropout = 0.0
        self.encoder = load_start(options).encoder
        self.codes = nn.Linear(SHAPES[size].hidden_size, CODEBOOKS * CODES)

    def forward(self, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The cross-entropy of masked frames in nats a code, and the share of codes predicted correctly."""
        hidden = encode_frames(self.encoder, batch.waveforms, batch.waveform_lengths, recompute=False)
        lengths = frame_lengths(self.encoder.config, batch.waveform_lengths)
        there = torch.arange(hidden.shape[1]) < lengths[:, None]
        masked = draw_spans(lengths, hidden.shape[1], MASKED, SPAN, least=1) & there
        hidden = torch.where(masked[:, :, None], self.encoder.masked_spec_embed, hidden)
        masked_hidden = run_transformer(self.encoder, hidden, there)[masked]
        logits = self.codes(masked_hidden).view(-1, CODES)
        codes = targets[masked].reshape(-1)
        return F.cross_entropy(logits, codes), (logits.argmax(dim=-1) == codes).float().mean()


def main() -> None:
    """Trains and writes OUT; OUT/pretraining.json has the losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("twin")
    parser.add_argument("size", choices=SHAPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--updates", type=int, default=1800)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    corpus = OpenslrKmConfig(root=options.twin, batch_size=BATCH)
    corpus.augment.speed = [0.9, 1.0, 1.1]
    data = CorpusDataModule(corpus, options.seed)
    data.prepare(progress=False)
    data.set_steps(options.updates)
    quantiser, model = RandomQuantiser(options.seed), Pretrained(options.size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _share_of_peak(s, options.updates))
    started, audio_seconds, rows, recent = time.perf_counter(), 0.0, [], []
    for step, batch in enumerate(data.train_dataloader(), 1):
        loss, right = model(batch, _targets(quantiser, batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        audio_seconds += batch.audio_seconds
        recent.append((loss.item(), right.item()))
        if step % 100 == 0 or step == options.updates:
            mean = [sum(column) / len(recent) for column in zip(*recent, strict=True)]
            rows.append({"step": step, "loss": mean[0], "right": mean[1]} | _validated(model, quantiser, data))
            recent = []
            print(
                json.dumps(
                    rows[-1] | {"audio_seconds": round(audio_seconds), "seconds": round(time.perf_counter() - started)}
                ),
                flush=True,
            )
    model.encoder.save_pretrained(options.out)
    (options.out / "pretraining.json").write_text(
        json.dumps({"parameters": sum(p.numel() for p in model.encoder.parameters()), "audio_seconds": audio_seconds,
                    "seconds": time.perf_counter() - started, "rows": rows}, indent=1),
        encoding="utf-8",
    )  # fmt: skip


def _targets(quantiser: RandomQuantiser, batch: Batch) -> Tensor:
    """(batch, frames, codebooks), zeros where there is padding."""
    pairs = zip(batch.waveforms, batch.waveform_lengths.tolist(), strict=True)
    return nn.utils.rnn.pad_sequence([quantiser(w[:length]) for w, length in pairs], batch_first=True)


def _share_of_peak(step: int, updates: int) -> float:
    """Up over a tenth, then down as half a cosine."""
    warm = updates / 10
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (updates - warm)))


@torch.no_grad()
def _validated(model: Pretrained, quantiser: RandomQuantiser, data: CorpusDataModule) -> dict[str, float]:
    """Loss and share of codes predicted correctly on the val part, always under the same masks."""
    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scores = [[x.item() for x in model(b, _targets(quantiser, b))] for b in data.evaluation_loader("val")]
    model.train()
    loss, right = (sum(column) / len(scores) for column in zip(*scores, strict=True))
    return {"val_loss": loss, "val_right": right}


if __name__ == "__main__":
    main()
