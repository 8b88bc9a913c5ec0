"""The length of a run, and the Lightning objects that train it: module, callbacks and Trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import Strategy

from khasr.config import Config
from khasr.data.datamodule import CorpusDataModule
from khasr.model.ctc import CtcModel
from khasr.model.feature_cache import build_feature_cache
from khasr.model.weights import describe_model, start_files
from khasr.optim.schedules import in_steps
from khasr.run.folder import RunFolder
from khasr.run.interrupts import StopSignals
from khasr.run.results import peak_memory_gib, uses_gpu
from khasr.text.vocabulary import Vocabulary
from khasr.training.alone import cluster_environment
from khasr.training.callbacks import TrainingMetrics
from khasr.training.checkpoint_files import CheckpointFiles
from khasr.training.checkpoints import Checkpoints
from khasr.training.devices import PRECISIONS, is_first_process
from khasr.training.diagnostics import StartWeights
from khasr.training.instruments import Instruments
from khasr.training.module import CtcModule
from khasr.training.progress import Progress
from khasr.training.pruning import Pruning, grace_percent
from khasr.training.shared_folder import SharedFolder
from khasr.training.strategy import build_strategy


@dataclass(frozen=True)
class Length:
    """The length of a run, in optimizer steps.

    Attributes:
        frozen_steps: number of steps at the start during which the encoder is frozen.
        epoch_at: function from a number of steps to epochs.
    """

    total_steps: int
    frozen_steps: int
    steps_per_epoch: int
    epoch_at: Callable[[int], float]


def run_length(config: Config, data: CorpusDataModule) -> Length:
    """The length of the run; also sets it in `data`."""
    order = data.training_order(ranks=config.trainer.devices * config.trainer.num_nodes)
    total_steps = config.trainer.max_steps or max(1, round(config.trainer.max_epochs * order.steps_per_epoch))
    data.set_steps(total_steps)
    frozen_steps = in_steps(config.finetune.freeze_encoder_steps, total_steps)
    return Length(total_steps, frozen_steps, order.steps_per_epoch, order.epoch_at)


def build_module(
    config: Config, data: CorpusDataModule, model: CtcModel, vocabulary: Vocabulary, length: Length
) -> CtcModule:
    """The LightningModule of a run."""
    # Under fsdp the feature encoder is whole only inside the model's own forward pass.
    feature_cache = (
        None
        if config.trainer.strategy == "fsdp"
        else build_feature_cache(model, config.model, config.data.augment, data.parts["train"].lengths)
    )
    return CtcModule(
        model,
        vocabulary,
        config.optimizer,
        config.schedule,
        total_steps=length.total_steps,
        seed=config.seed,
        # Lightning divides by the number of batches.
        loss_scale=config.trainer.accumulate_grad_batches if config.trainer.accumulated_loss == "sum" else 1.0,
        frozen_steps=length.frozen_steps,
        feature_cache=feature_cache,
        description=describe_model(model, vocabulary, config.model, config.data.text),
    )


@dataclass(frozen=True)
class Training:
    """A trainer, and the callbacks that are read after training."""

    trainer: pl.Trainer
    instruments: Instruments
    metrics: TrainingMetrics
    checkpoints: Checkpoints


def build_training(
    config: Config, folder: RunFolder, module: CtcModule, length: Length, stop: StopSignals, loggers: list[Logger]
) -> Training:
    """The trainer of a run with its callbacks; writes start.ckpt unless the run is resumed."""
    options = config.trainer
    start_weights = StartWeights(start_files(config.model), folder.start, module.model)
    if config.resume is None and is_first_process():
        start_weights.write_own(module.model)
    instruments = Instruments(options.log_every_steps, start_weights)
    metrics = TrainingMetrics(options.log_every_steps, length.epoch_at, options.nonfinite_patience, instruments)
    # On a CPU a copy would take the memory of training, and writing it the time.
    files = CheckpointFiles(in_background=uses_gpu(options))
    checkpoints = Checkpoints(
        folder,
        stop,
        files,
        val_every_steps=options.val_every_steps,
        total_steps=length.total_steps,
        save_every_minutes=options.save_every_minutes,
        keep=config.optimizer.average_checkpoints,
    )
    shared_folder = SharedFolder(folder, config.resume is not None)
    callbacks: list[pl.Callback] = [instruments, metrics, shared_folder, checkpoints]
    if config.sweep.trial is not None:
        grace = grace_percent(config, length.total_steps)
        callbacks.append(Pruning(config.sweep, checkpoints, length.total_steps, grace))
    if options.progress_bar and is_first_process():
        callbacks.append(Progress(length.total_steps, metrics))
    strategy = build_strategy(options, module.model, config.model.layerdrop > 0 or length.frozen_steps > 0)
    trainer = build_trainer(config, folder, length.total_steps, callbacks, loggers, files, strategy)
    return Training(trainer, instruments, metrics, checkpoints)


def describe_training(training: Training, module: CtcModule, length: Length, hours: float) -> dict[str, Any]:
    """What results.json has about training, whether or not it was completed.

    Args:
        hours: of audio in the training part.
    """
    trainer, metrics = training.trainer, training.metrics
    return {
        "planned_steps": length.total_steps,
        "hours": hours,
        "parameters": sum(p.numel() for p in module.model.parameters()),
        "steps": trainer.global_step,
        "epochs": length.epoch_at(trainer.global_step),
        "seconds": metrics.train_seconds,
        "audio_seconds": metrics.audio_seconds,
        "audio_seconds_per_second": metrics.audio_seconds / max(metrics.train_seconds, 1e-9),
        "peak_memory_gib": peak_memory_gib(trainer.strategy.root_device.type == "cuda"),
    } | training.instruments.totals()


def build_trainer(
    config: Config,
    folder: RunFolder,
    total_steps: int,
    callbacks: list[pl.Callback],
    loggers: list[Logger],
    files: CheckpointFiles,
    strategy: str | Strategy = "auto",
) -> pl.Trainer:
    """Lightning's Trainer for a run of `total_steps` optimizer steps."""
    options = config.trainer
    return pl.Trainer(
        default_root_dir=folder.path,
        accelerator=options.accelerator,
        strategy=strategy,
        devices=options.devices,
        num_nodes=options.num_nodes,
        precision=PRECISIONS[config.precision.name],
        # For Lightning the whole run is one epoch: see TrainingOrder.
        max_epochs=1,
        max_steps=total_steps,
        accumulate_grad_batches=options.accumulate_grad_batches,
        gradient_clip_val=options.gradient_clip_norm or None,
        # Checkpoints decides after each batch when to validate; without None batches are counted within an epoch.
        check_val_every_n_epoch=None,
        val_check_interval=2**62,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic=options.deterministic,
        callbacks=callbacks,
        logger=loggers,
        plugins=[files, *cluster_environment(options)],
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
