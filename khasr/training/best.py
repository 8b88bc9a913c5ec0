"""TODO."""

from functools import partial

import pytorch_lightning as pl
import torch

from khasr.data.datamodule import CorpusDataModule
from khasr.decoding.greedy import decode_greedy
from khasr.inference.recogniser import recognise
from khasr.model.ctc import CtcModel
from khasr.optim.averaging import average_weights
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import score
from khasr.text.vocabulary import Vocabulary
from khasr.training.checkpoints import Checkpoints, WholeFileIO
from khasr.training.module import CtcModule


def _let_go(trainer: pl.Trainer, module: CtcModule) -> None:
    """Frees gradients and the optimizer's states, three times the model's size: scoring has no use for them."""
    module.zero_grad(set_to_none=True)
    trainer.strategy.optimizers = []
    trainer.strategy.lr_scheduler_configs = []


def _average_kept(
    model: CtcModel, vocabulary: Vocabulary, data: CorpusDataModule, folder: RunFolder, checkpoints: Checkpoints
) -> str:
    """Makes best.ckpt the better of the best weights and the mean of those kept; returns a sentence on it."""
    steps = [int(row[-1]) for row in checkpoints.kept]
    files = [torch.load(folder.kept(s), map_location="cpu", weights_only=True, mmap=True) for s in steps]
    best = files[0]
    averaged = average_weights([file["state_dict"] for file in files])
    model.load_state_dict({name.removeprefix("model."): weight for name, weight in averaged.items()})
    decode = partial(decode_greedy, vocabulary=vocabulary)
    found, single = score(recognise(model, data.evaluation_loader("val", whole=True), decode)), checkpoints.kept[0]
    better = [found["wer"], found["cer"]] < single[:2]
    WholeFileIO().save_checkpoint(best | {"state_dict": averaged if better else best["state_dict"]}, folder.best)
    return (
        f"the weights of steps {', '.join(f'{s:,}' for s in steps)} averaged: WER {found['wer']:.2%} on val, the best "
        f"of them alone {single[0]:.2%} (greedy); best.ckpt is the {'average' if better else 'best of them'}"
    )
