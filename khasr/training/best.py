"""The best checkpoint at the end of training: averaged with others if requested, scored, and written."""

from functools import partial

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import FSDPStrategy

from khasr.config import Config
from khasr.data.datamodule import CorpusDataModule
from khasr.decoding.decoder import Decoder
from khasr.decoding.greedy import decode_greedy
from khasr.inference.recogniser import recognise
from khasr.model.ctc import CtcModel
from khasr.model.finetune import remove_adapters
from khasr.model.weights import build_model, load_start, load_weights
from khasr.optim.averaging import average_weights
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import Hypothesis, score
from khasr.text.vocabulary import Vocabulary
from khasr.training.checkpoint_files import WholeFileIO
from khasr.training.checkpoints import Checkpoints
from khasr.training.module import CtcModule


def load_best(
    config: Config, folder: RunFolder, trainer: pl.Trainer, module: CtcModule, data: CorpusDataModule,
    checkpoints: Checkpoints,
) -> tuple[CtcModel, str | None]:  # fmt: skip
    """The model with the weights of best.ckpt, on the device of training, and a sentence if weights were averaged.

    Frees the training state first, so that scoring needs no more memory than training.
    """
    _free_training_state(trainer, module)
    model, vocabulary = module.model, module.vocabulary
    if isinstance(trainer.strategy, FSDPStrategy):
        # The trained model is sharded over the devices.
        model, _, _ = build_model(load_start(config.model, folder.best), vocabulary, config.model, "keep")
    model.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU
    remove_adapters(model)  # they are merged into the weights of best.ckpt
    note = None
    if len(checkpoints.kept) > 1:
        note = _average_kept(model, vocabulary, data, folder, checkpoints, config.precision.name)
    load_weights(model, folder.best)
    return model, note


def score_parts(
    model: CtcModel, data: CorpusDataModule, parts: list[str], decode: Decoder, precision: str
) -> dict[str, list[Hypothesis]]:
    """The model's hypotheses of the given parts, by part; on a GPU computed in the precision of training."""
    return {part: recognise(model, data.evaluation_loader(part, whole=True), decode, precision) for part in parts}


def _free_training_state(trainer: pl.Trainer, module: CtcModule) -> None:
    """Frees gradients and optimizer states, three times the size of the model."""
    module.zero_grad(set_to_none=True)
    trainer.strategy.optimizers = []
    trainer.strategy.lr_scheduler_configs = []


def _average_kept(
    model: CtcModel, vocabulary: Vocabulary, data: CorpusDataModule, folder: RunFolder, checkpoints: Checkpoints,
    precision: str,
) -> str:  # fmt: skip
    """Writes the better of the best weights and the mean of the kept weights to best.ckpt; returns a sentence on it."""
    steps = [int(row[-1]) for row in checkpoints.kept]
    files = [torch.load(folder.kept(s), map_location="cpu", weights_only=True, mmap=True) for s in steps]
    best = files[0]
    averaged = average_weights([file["state_dict"] for file in files])
    model.load_state_dict({name.removeprefix("model."): weight for name, weight in averaged.items()})
    decode = partial(decode_greedy, vocabulary=vocabulary)
    found = recognise(model, data.evaluation_loader("val", whole=True), decode, precision)
    rates, single = score(found), checkpoints.kept[0]
    better = [rates["wer"], rates["cer"]] < single[:2]
    WholeFileIO().save_checkpoint(best | {"state_dict": averaged if better else best["state_dict"]}, folder.best)
    return (
        f"mean of the weights of steps {', '.join(f'{s:,}' for s in steps)}: WER {rates['wer']:.2%} on val; the best "
        f"single step: {single[0]:.2%} (both greedy); best.ckpt is {'the mean' if better else 'the single step'}"
    )
