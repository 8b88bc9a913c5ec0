"""A run, from typed options to results.json."""

import logging
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import FSDPStrategy, Strategy
from rich.console import Console

from khasr.config import Config
from khasr.data.datamodule import CorpusDataModule
from khasr.data.splits import manifest
from khasr.decoding.beam import check_decoder
from khasr.decoding.decoder import build_decoder
from khasr.inference.recogniser import recognise
from khasr.model.allocator import set_allocator
from khasr.model.feature_cache import build_feature_cache
from khasr.model.finetune import apply_finetune, remove_adapters
from khasr.model.weights import build_model, check_weights, describe_model, load_start, load_weights, start_files
from khasr.optim.parameters import check_optimizer
from khasr.optim.schedules import in_steps
from khasr.run.folder import RunFolder, write_whole
from khasr.run.interrupts import Interrupted, StopSignals, preempting_signals
from khasr.run.learning_curve import draw_learning_curve
from khasr.run.published import CARD_CURVE, is_published_recipe
from khasr.run.results import new_results, peak_memory_gib
from khasr.scoring.hypotheses import Hypothesis, score, write_hypotheses
from khasr.training.best import _average_kept, _let_go
from khasr.training.callbacks import Diverged, TrainingMetrics
from khasr.training.checkpoints import Checkpoints, WholeFileIO
from khasr.training.devices import PRECISIONS, build_strategy, check_devices, is_first_process
from khasr.training.diagnostics import StartWeights
from khasr.training.instruments import Instruments
from khasr.training.loggers import MetricsCsv, build_loggers, check_tensorboard, close_loggers
from khasr.training.module import CtcModule
from khasr.training.progress import Progress
from khasr.training.summary import describe_data, describe_length, print_summary, title
from khasr.training.symptoms import symbol_entropy, what_went_wrong
from khasr.training.wandb_run import log_best, log_checkpoint, log_utterances, mark_preempting


def fit(config: Config, folder: RunFolder) -> dict[str, Any]:
    """Trains, scores and writes a run; goes on with the one in the folder where config.resume is set.

    On several devices each has a process that comes here; the first writes and tells, the others only compute.

    Returns:
        What results.json holds; `status` is "completed".

    Raises:
        Interrupted: a signal stopped the run; last.ckpt is written if a step was taken.
        Diverged: the loss was not finite for too long.
        ValueError, FileNotFoundError: options, corpus, weights or a folder that cannot be used.
    """
    if not is_first_process():
        with StopSignals() as stop:
            _run(config, folder, stop, {}, [])
        return {}
    if config.resume is None and (folder.best.is_file() or folder.last.is_file()):
        raise ValueError(
            f"{folder.path} already holds a run with its checkpoints. resume={folder.path} goes on with it; a new run "
            "wants a folder of its own (hydra.run.dir=DIR)."
        )
    results = new_results(config)
    if config.resume is None:
        folder.write_config(config)
        folder.metrics.unlink(missing_ok=True)  # of a run that failed before its first checkpoint
    elif folder.results.is_file():
        # What the run has is kept until there is better.
        results |= {key: folder.read_results().get(key) for key in ("val", "test", "train", "trouble")}
    folder.write_results(results)
    loggers: list[Logger] = []
    with StopSignals() as stop:
        try:
            heard = _run(config, folder, stop, results, loggers)
            results["status"] = "completed"
        except Interrupted as error:
            _note(results, "interrupted", error)
            if error.signum in preempting_signals():
                mark_preempting(loggers)
            raise
        except Diverged as error:
            _note(results, "diverged", error)
            results["trouble"] = str(error)
            raise
        except BaseException as error:
            _note(results, "failed", error)
            (folder.path / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
            raise
        finally:
            folder.write_results(results)
            close_loggers(loggers, results["status"] == "completed")
            if folder.metrics.is_file():
                published = CARD_CURVE if is_published_recipe(config) else []
                draw_learning_curve(folder.metrics, folder.learning_curve, title(results), published)
    print_summary(results, folder, heard, _console())
    return results


def _note(results: dict[str, Any], status: str, error: BaseException) -> None:
    results["status"] = status
    results["error"] = f"{type(error).__name__}: {error}"


def _console() -> Console:
    # Without markup: a path or a transcript may hold [brackets].
    return Console(highlight=False, markup=False, quiet=not is_first_process())


def _run(
    config: Config, folder: RunFolder, stop: StopSignals, results: dict[str, Any], loggers: list[Logger]
) -> list[Hypothesis]:
    """The run itself: fills in the results as it gets them; returns what was heard in test, or in val alone."""
    console = _console()
    _quieten()

    # 1. What can be known to fail is told before anything takes time.
    resumed = _checkpoint_to_resume(config, folder)
    if resumed is None:
        check_weights(config.model)
    config.trainer.devices = check_devices(config)
    check_decoder(config.decoder)
    check_optimizer(config.optimizer)
    if config.logger.tensorboard is not None:
        check_tensorboard()

    # 2. The corpus, parted; the vocabulary is the training part's.
    parts = ["val", "test"] if config.score_test else ["val"]
    accumulate = config.trainer.accumulate_grad_batches
    data = CorpusDataModule(config.data, config.seed, accumulate, read_test=config.score_test)
    data.prepare(config.trainer.progress_bar and is_first_process())
    if is_first_process():
        write_whole(
            folder.split, manifest({name: [str(id_) for id_ in part.audio["id"]] for name, part in data.parts.items()})
        )

    # 3. The model. The seed is for its new weights; batches have seeds of their own.
    pl.seed_everything(config.seed, verbose=False)
    start = load_start(config.model, resumed)
    head = "keep" if resumed is not None else config.model.head
    model, vocabulary, origin = build_model(start, data.vocabulary, config.model, head)
    data.use_vocabulary(vocabulary)
    decode = build_decoder(config.decoder, vocabulary)
    set_allocator(model)
    trained = apply_finetune(model, config.finetune, config.model, as_saved=resumed is not None)
    console.print(f"{describe_data(data)}\n{origin}\n{trained}", soft_wrap=True)

    # Under fsdp the feature encoder is whole only inside the model's own forward pass.
    feature_cache = (
        None
        if config.trainer.strategy == "fsdp"
        else build_feature_cache(model, config.model, config.data.augment, data.parts["train"].lengths)
    )

    # 4. How long the run is.
    order = data.training_order(ranks=config.trainer.devices * config.trainer.num_nodes)
    total_steps = config.trainer.max_steps or max(1, round(config.trainer.max_epochs * order.steps_per_epoch))
    data.set_steps(total_steps)
    frozen_steps = in_steps(config.finetune.freeze_encoder_steps, total_steps)
    console.print(describe_length(config.schedule, total_steps, order.steps_per_epoch, frozen_steps), soft_wrap=True)
    module = CtcModule(
        model,
        vocabulary,
        config.optimizer,
        config.schedule,
        total_steps=total_steps,
        seed=config.seed,
        # Lightning divides by the count of batches.
        loss_scale=accumulate if config.trainer.accumulated_loss == "sum" else 1.0,
        frozen_steps=frozen_steps,
        feature_cache=feature_cache,
        description=describe_model(model, vocabulary, config.model, config.data.text),
    )

    # 5. Training.
    if is_first_process():
        loggers.extend(build_loggers(config, folder))
        if resumed is not None:
            folder.write_config(config)
            _forget_rows_after(resumed, loggers)
    start_weights = StartWeights(start_files(config.model), folder.start, model)
    if resumed is None and is_first_process():
        start_weights.write_own(model)
    instruments = Instruments(config.trainer.log_every_steps, start_weights)
    metrics = TrainingMetrics(
        config.trainer.log_every_steps, order.epoch_at, config.trainer.nonfinite_patience, instruments
    )
    checkpoints = Checkpoints(
        folder, stop, config.trainer.val_every_steps, total_steps, config.optimizer.average_checkpoints
    )
    callbacks: list[pl.Callback] = [instruments, metrics, checkpoints]
    if config.trainer.progress_bar and is_first_process():
        callbacks.append(Progress(total_steps, metrics))
    strategy = build_strategy(config.trainer, model, config.model.layerdrop > 0 or frozen_steps > 0)
    trainer = build_trainer(config, folder, total_steps, callbacks, loggers, strategy)
    results["train"] = {"parameters": sum(p.numel() for p in model.parameters())}
    try:
        # Pretrained models come in evaluation mode, and Lightning leaves modes as they are.
        module.train()
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    finally:
        stop.training = False
        seconds = max(metrics.train_seconds, 1e-9)
        results["train"] |= {
            "steps": trainer.global_step,
            "epochs": order.epoch_at(trainer.global_step),
            "seconds": metrics.train_seconds,
            "audio_seconds": metrics.audio_seconds,
            "audio_seconds_per_second": metrics.audio_seconds / seconds,
            "peak_memory_gib": peak_memory_gib(),
        } | instruments.totals()
    if checkpoints.best is not None and module.validation:
        best = dict(zip(("wer", "cer", "loss"), checkpoints.best, strict=True))
        log_best(loggers, best["wer"])
        entropy = symbol_entropy(data.parts["train"].texts)
        results["trouble"] = what_went_wrong(config, results["train"], module.validation, best, entropy)

    _let_go(trainer, module)

    # 6. The best checkpoint, scored by one process: val always, test when asked.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # else counting errors would wait for the other processes
    if not is_first_process():
        return []
    if isinstance(trainer.strategy, FSDPStrategy):
        # What was trained is in shares, one on each device.
        model, _, _ = build_model(load_start(config.model, folder.best), vocabulary, config.model, "keep")
    model.to(trainer.strategy.root_device)  # Lightning has left it on the CPU
    remove_adapters(model)  # best.ckpt has them added to the weights
    if len(checkpoints.kept) > 1:
        console.print(_average_kept(model, vocabulary, data, folder, checkpoints), soft_wrap=True)
    load_weights(model, folder.best)
    hypotheses: dict[str, list[Hypothesis]] = {}
    for part in parts:
        hypotheses[part] = recognise(model, data.evaluation_loader(part, whole=True), decode)
        results[part] = score(hypotheses[part])
    write_hypotheses(folder.hypotheses, hypotheses)
    if config.logger.wandb is not None:
        log_utterances(loggers, hypotheses[parts[-1]], data.parts[parts[-1]], folder, config.logger.wandb.utterances)
        if config.logger.wandb.log_checkpoint:
            log_checkpoint(loggers, folder)
    return hypotheses[parts[-1]]


def build_trainer(
    config: Config,
    folder: RunFolder,
    total_steps: int,
    callbacks: list[pl.Callback],
    loggers: list[Logger],
    strategy: str | Strategy = "auto",
) -> pl.Trainer:
    """Lightning's Trainer for a run of that many optimizer steps."""
    options = config.trainer
    return pl.Trainer(
        default_root_dir=folder.path,
        accelerator=options.accelerator,
        strategy=strategy,
        devices=options.devices,
        num_nodes=options.num_nodes,
        precision=PRECISIONS[config.precision.name],
        # To Lightning the whole run is one epoch: TrainingOrder says why.
        max_epochs=1,
        max_steps=total_steps,
        accumulate_grad_batches=options.accumulate_grad_batches,
        gradient_clip_val=options.gradient_clip_norm or None,
        # Checkpoints decides at each batch; without None here batches would be counted within an epoch.
        check_val_every_n_epoch=None,
        val_check_interval=2**62,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic=options.deterministic,
        callbacks=callbacks,
        logger=loggers,
        plugins=[WholeFileIO()],
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )


def _checkpoint_to_resume(config: Config, folder: RunFolder) -> Path | None:
    if config.resume is None:
        return None
    if not folder.last.is_file():
        raise FileNotFoundError(
            f"{folder.last} does not exist: the run stopped before its first checkpoint. Start it again without resume."
        )
    return folder.last


def _forget_rows_after(checkpoint: Path, loggers: list[Logger]) -> None:
    step = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    for logger in loggers:
        if isinstance(logger, MetricsCsv):
            logger.forget_after(step)


def _quieten() -> None:
    """Keeps Lightning's advertisements and warnings about what is on purpose out of the output."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*srun. command is available.*",  # printed wherever Slurm is installed, whether or not it is wanted
        ".*smaller than the logging interval.*",
        ".*treespec, LeafSpec.*",
        ".*gradient_checkpointing_enable.*",  # its successor is younger than the transformers that khasr allows
    ):
        warnings.filterwarnings("ignore", message)
