"""A training run, from typed options to results.json."""

import contextlib
import logging
import sys
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from rich.console import Console

from khasr.config import Config
from khasr.data.datamodule import CorpusDataModule
from khasr.data.splits import manifest
from khasr.decoding.beam import check_decoder
from khasr.decoding.decoder import build_decoder
from khasr.model.allocator import set_allocator
from khasr.model.ctc import CtcModel
from khasr.model.finetune import apply_finetune
from khasr.model.precision import set_tf32
from khasr.model.weights import build_model, check_weights, load_start
from khasr.optim.parameters import check_optimizer
from khasr.run.folder import RunFolder, write_whole
from khasr.run.interrupts import Interrupted, StopSignals, preempting_signals
from khasr.run.learning_curve import draw_learning_curve
from khasr.run.lock import lock_run
from khasr.run.outcome import Pruned
from khasr.run.published import CARD_CURVE, is_published_recipe
from khasr.run.results import new_results
from khasr.scoring.hypotheses import Hypothesis, score, write_hypotheses
from khasr.text.vocabulary import Vocabulary
from khasr.training.alone import leave_ranks
from khasr.training.best import load_best, score_parts
from khasr.training.callbacks import Diverged
from khasr.training.checkpoints import check_resumable
from khasr.training.compilation import choose_compilation, compile_layers
from khasr.training.devices import check_devices, is_first_process
from khasr.training.loggers import MetricsCsv, build_loggers, check_tensorboard, close_loggers
from khasr.training.recomputation import choose_recomputation, usable_memory_gib
from khasr.training.summary import describe_data, describe_length, describe_resume, print_summary, title
from khasr.training.symptoms import diagnose, symbol_entropy
from khasr.training.trainer import build_module, build_training, describe_training, run_length
from khasr.training.wandb_run import log_best, log_checkpoint, log_utterances, mark_preempting

SHORTEST_CURVE = 50
"""Steps from which on a run has a learning_curve.png; drawing takes longer than training a shorter one."""


def fit(config: Config, folder: RunFolder) -> dict[str, Any]:
    """Trains and scores a run and writes its folder; resumes the run in the folder if config.resume is set.

    On several devices every process calls this; only the first writes and prints.

    Returns:
        The contents of results.json, with `status` "completed"; empty in further processes.

    Raises:
        Interrupted: a signal stopped the run; last.ckpt is written if a step was taken.
        Diverged: the loss was not finite for too many batches in a row.
        Pruned: the pruner of a search stopped the run.
        ValueError, FileNotFoundError: options, corpus, weights or a folder that cannot be used, or a folder that is in
            use.
    """
    leave_ranks(config.trainer)
    if not is_first_process():
        # The first process reports these. Lightning kills it within seconds of another one that fails, perhaps while it
        # writes results.json.
        with StopSignals() as stop, contextlib.suppress(Interrupted, Diverged):
            _train_and_score(config, folder, stop, {}, [])
        return {}
    with lock_run(folder):
        return _fit(config, folder)


def _fit(config: Config, folder: RunFolder) -> dict[str, Any]:
    """`fit` in the first process, which holds the lock of the folder."""
    results = _begin(config, folder)
    loggers: list[Logger] = []
    with StopSignals() as stop:
        try:
            hypotheses = _train_and_score(config, folder, stop, results, loggers)
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
        except Pruned as pruned:
            results |= {"status": "pruned", "pruned": pruned.scores}
            raise
        except BaseException as error:
            _note(results, "failed", error)
            folder.traceback.write_text(traceback.format_exc(), encoding="utf-8")
            raise
        finally:
            folder.write_results(results)
            close_loggers(loggers, results["status"] in ("completed", "pruned"))
            _drop_checkpoints(config, folder, results["status"])
            if folder.metrics.is_file() and not _is_short(results):
                published = CARD_CURVE if is_published_recipe(config) else []
                draw_learning_curve(folder.metrics, folder.learning_curve, title(results), published)
    print_summary(results, folder, hypotheses, _console())
    return results


def _is_short(results: dict[str, Any]) -> bool:
    """Whether the run ended as intended after fewer steps than drawing its learning curve is worth."""
    return results["status"] in ("completed", "pruned") and results["train"]["steps"] < SHORTEST_CURVE


def _drop_checkpoints(config: Config, folder: RunFolder, status: str) -> None:
    """Deletes the checkpoints that the options do not keep of a run that ended like this."""
    if status == "pruned" and not config.sweep.keep_pruned:
        folder.drop_checkpoints()
    elif status in ("completed", "diverged") and config.trainer.keep_last == "never":
        folder.drop_checkpoints(keep=(folder.best,))


def _begin(config: Config, folder: RunFolder) -> dict[str, Any]:
    """Writes config.yaml and the first results.json of a new run, or keeps the scores of a resumed one.

    Raises:
        ValueError: a new run in a folder that has a run.
        FileNotFoundError: a run to resume has no checkpoint; its results are kept.
    """
    if config.resume is not None or folder.last.is_file():
        folder.recover_checkpoints()
    _checkpoint_to_resume(config, folder)
    results = new_results(config)
    if config.resume is None:
        _refuse_existing_run(folder)
        folder.write_config(config)
        # Of a run that stopped before its first last.ckpt.
        folder.metrics.unlink(missing_ok=True)
        for path in folder.checkpoints.glob("*.ckpt*"):
            path.unlink()
    elif folder.results.is_file():
        # Earlier scores stay until there are new ones.
        try:
            results |= {key: folder.read_results().get(key) for key in ("val", "test", "train", "trouble")}
        except ValueError as error:
            print(f"{error} The resumed run starts a new one.", file=sys.stderr)
    folder.write_results(results)
    return results


def _refuse_existing_run(folder: RunFolder) -> None:
    """Raises ValueError if a new run would overwrite a run that can be resumed or that has been scored."""
    if folder.last.is_file():
        raise ValueError(
            f"{folder.path} already contains a run with checkpoints. Resume it with resume={folder.path}, or give the "
            "new run its own folder (hydra.run.dir=DIR)."
        )
    if folder.best.is_file():
        # Without scores, the run was stopped during its first validation and starts again.
        results = folder.read_results() if folder.results.is_file() else {"status": "completed"}
        if results["status"] == "completed" or results.get("val") is not None:
            raise ValueError(
                f"{folder.path} already contains the weights of a run. It has no checkpoints/last.ckpt and cannot be "
                "resumed; give the new run its own folder (hydra.run.dir=DIR)."
            )


def _note(results: dict[str, Any], status: str, error: BaseException) -> None:
    results["status"] = status
    results["error"] = f"{type(error).__name__}: {error}"


def _console() -> Console:
    # Without markup: paths and transcripts may contain [brackets].
    return Console(highlight=False, markup=False, quiet=not is_first_process())


def _train_and_score(
    config: Config, folder: RunFolder, stop: StopSignals, results: dict[str, Any], loggers: list[Logger]
) -> list[Hypothesis]:
    """Trains and scores, updating `results` in place; returns the last part's hypotheses."""
    console = _console()
    _quieten()

    # 1. Checks that take no time.
    resumed = _check(config, folder)

    # 2. The corpus and its split.
    data = _read_corpus(config, folder)

    # 3. The model, with the vocabulary of the training part.
    model, vocabulary, note = _build_model(config, data, resumed)
    decode = build_decoder(config.decoder, vocabulary)
    console.print(f"{describe_data(data, config.score_test)}\n{note}", soft_wrap=True)

    # 4. The length of the run.
    length = run_length(config, data)
    console.print(
        describe_length(config.schedule, length.total_steps, length.steps_per_epoch, length.frozen_steps),
        soft_wrap=True,
    )
    if resumed is not None:
        planned = (results.get("train") or {}).get("planned_steps")
        step = _step_of(resumed)
        console.print(
            describe_resume(folder.path, step, length.total_steps, folder.read_config(), config, planned),
            soft_wrap=True,
        )

    # 5. Training.
    module = build_module(config, data, model, vocabulary, length)
    if is_first_process():
        loggers.extend(build_loggers(config, folder))
        if resumed is not None:
            folder.write_config(config)
            _forget_rows_after(resumed, loggers)
    training = build_training(config, folder, module, length, stop, loggers)
    results["train"] = (results.get("train") or {}) | {"planned_steps": length.total_steps}
    if is_first_process():
        folder.write_results(results)  # for a run that is killed
    try:
        # Pretrained models are in evaluation mode, and Lightning keeps the mode.
        module.train()
        training.trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    finally:
        stop.training = False
        results["train"] = describe_training(training, module, length, data.parts["train"].hours)

    # 6. A diagnosis, if the model did not learn.
    checkpoints = training.checkpoints
    if checkpoints.best is not None and module.validation:
        best = dict(zip(("wer", "cer", "loss"), checkpoints.best, strict=True))
        log_best(loggers, best["wer"])
        entropy = symbol_entropy(data.parts["train"].texts)
        results["trouble"] = diagnose(config, results["train"], module.validation, best, entropy)

    # 7. The best checkpoint, scored by one process: val always, test if requested.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # counting errors would wait for the other processes
    if not is_first_process():
        return []
    model, averaged = load_best(config, folder, training.trainer, module, data, checkpoints)
    if averaged is not None:
        console.print(averaged, soft_wrap=True)
    parts = ["val", "test"] if config.score_test else ["val"]
    hypotheses = score_parts(model, data, parts, decode, config.precision.name)
    results.update({part: score(found) for part, found in hypotheses.items()})
    write_hypotheses(folder.hypotheses, hypotheses)
    if config.logger.wandb is not None:
        log_utterances(loggers, hypotheses[parts[-1]], data.parts[parts[-1]], folder, config.logger.wandb.utterances)
        if config.logger.wandb.log_checkpoint:
            log_checkpoint(loggers, folder)
    return hypotheses[parts[-1]]


def _check(config: Config, folder: RunFolder) -> Path | None:
    """Checks the options before anything takes time, and sets the number of devices; returns the checkpoint to resume.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: the run cannot be computed with these options.
    """
    resumed = _checkpoint_to_resume(config, folder)
    if resumed is None:
        check_weights(config.model)
    else:
        check_resumable(resumed)
    config.trainer.devices = check_devices(config)
    set_tf32(config.precision)
    check_decoder(config.decoder)
    check_optimizer(config.optimizer)
    if config.logger.tensorboard is not None:
        check_tensorboard()
    return resumed


def _read_corpus(config: Config, folder: RunFolder) -> CorpusDataModule:
    """The corpus of the run; writes split.tsv."""
    accumulate = config.trainer.accumulate_grad_batches
    data = CorpusDataModule(config.data, config.seed, accumulate, read_test=config.score_test)
    data.prepare(config.trainer.progress_bar and is_first_process())
    if is_first_process():
        parts = {name: [str(id_) for id_ in part.audio["id"]] for name, part in data.parts.items()}
        write_whole(folder.split, manifest(parts))
    return data


def _build_model(config: Config, data: CorpusDataModule, resumed: Path | None) -> tuple[CtcModel, Vocabulary, str]:
    """The model with its trainable parameters selected, its vocabulary, and a paragraph on both."""
    # The seed is for new weights; batches have their own seeds.
    pl.seed_everything(config.seed, verbose=False)
    start = load_start(config.model, resumed)
    recompute, choice = choose_recomputation(
        config, data, usable_memory_gib(config.trainer), start.encoder.config, as_saved=resumed is not None
    )
    options = replace(config.model, gradient_checkpointing=recompute)
    head = "keep" if resumed is not None else options.head
    model, vocabulary, origin = build_model(start, data.vocabulary, options, head)
    data.use_vocabulary(vocabulary)
    set_allocator(model)
    trained = apply_finetune(model, config.finetune, options, as_saved=resumed is not None)
    notes = [origin, trained, *([choice] if choice else [])]
    if choose_compilation(config, sum(p.numel() for p in model.parameters())):
        compile_layers(model, required=options.compile is True)
        notes.append("the transformer layers are compiled: the first steps take minutes (model.compile=false)")
    return model, vocabulary, "\n".join(notes)


def _checkpoint_to_resume(config: Config, folder: RunFolder) -> Path | None:
    if config.resume is None:
        return None
    if not folder.last.is_file():
        status = folder.read_results()["status"] if folder.results.is_file() else "interrupted"
        if status in ("completed", "diverged", "pruned"):
            raise FileNotFoundError(
                f"{folder.last} does not exist: the run is {status}, and its last.ckpt, which only resuming needs, was "
                f"deleted (trainer.keep_last and sweep.keep_pruned). It cannot be extended. Start a longer run with "
                f"trainer.keep_last=always, or a new one from its weights with model.checkpoint={folder.path}."
            )
        there = "best.ckpt, which has no optimizer states" if folder.best.is_file() else "no checkpoint"
        raise FileNotFoundError(
            f"{folder.last} does not exist: the run stopped before its first checkpoint was complete. The folder "
            f"contains {there}. Start the run again from its first step with the same command and without resume=."
        )
    return folder.last


def _forget_rows_after(checkpoint: Path, loggers: list[Logger]) -> None:
    step = _step_of(checkpoint)
    for logger in loggers:
        if isinstance(logger, MetricsCsv):
            logger.forget_after(step)


def _step_of(checkpoint: Path) -> int:
    """The number of optimizer steps at which a checkpoint was written."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"])


def _quieten() -> None:
    """Silences Lightning's tips, and warnings about intended settings."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*srun. command is available.*",  # printed wherever Slurm is installed
        ".*smaller than the logging interval.*",
        ".*treespec, LeafSpec.*",
        ".*gradient_checkpointing_enable.*",  # its successor is missing in the oldest transformers that khasr allows
    ):
        warnings.filterwarnings("ignore", message)
