"""A run in wandb: its logger, and the data that is logged in addition to the metrics."""

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Sequence

import numpy as np
import wandb
from pytorch_lightning.loggers import Logger, WandbLogger

from khasr.config import Config, WandbLoggerConfig, to_plain
from khasr.data.audio import SAMPLE_RATE
from khasr.data.parts import Part
from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted
from khasr.scoring.hypotheses import Hypothesis, sample_evenly


def build_wandb_logger(config: Config, options: WandbLoggerConfig, folder: RunFolder) -> WandbLogger:
    """The logger of a run, with the same wandb id each time the run is resumed; offline if wandb cannot be reached."""
    id_file = folder.wandb / "id"
    if not id_file.is_file():
        id_file.parent.mkdir(parents=True, exist_ok=True)
        # A sweep's agent sets the id. Without an agent, WANDB_RUN_ID would be the id of every run of the shell.
        of_agent = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        id_file.write_text(of_agent or uuid.uuid4().hex[:8])
    upload = f"upload the run later with `wandb sync {folder.wandb}/offline-*`"
    try:
        mode: str = options.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
            if mode == "offline":
                print(f"wandb: offline; {upload}")
        return _start(config, options, folder, mode)
    except wandb.errors.CommError as error:  # unreachable, or a key that is not accepted
        reason = " ".join(str(error).split()).rstrip(".")
        print(f"wandb: offline, because it cannot be used online ({reason}); {upload}", file=sys.stderr)
        return _start(config, options, folder, "offline")


def _start(config: Config, options: WandbLoggerConfig, folder: RunFolder, mode: str) -> WandbLogger:
    logger = WandbLogger(
        project=options.project,
        entity=options.entity,
        tags=options.tags,
        id=(folder.wandb / "id").read_text(),
        resume="allow",
        save_dir=str(folder.path),
        mode=mode,
        config=to_plain(config),
        # wandb's console capture would log every update of the progress bar.
        settings=wandb.Settings(console="off", silent=True, init_timeout=30),
    )
    _ = logger.experiment  # starts wandb's run now, before signal handlers are installed, not at the first row
    return logger


def log_best(loggers: list[Logger], wer: float) -> None:
    """Sets the WER on val of the best weights in wandb's summary, which its exported table shows.

    By default the summary has the last value; define_metric(summary="min") names the lowest val/wer.min.
    """
    for logger in (each for each in loggers if isinstance(each, WandbLogger)):
        with tolerate_wandb_errors("the best WER"):
            logger.experiment.summary["val/wer"] = wer


def log_utterances(
    loggers: list[Logger], hypotheses: Sequence[Hypothesis], part: Part, folder: RunFolder, count: int
) -> None:
    """Logs a table of `count` utterances with their audio, at even distances from the most edits to the fewest."""
    if count == 0:
        return
    for logger in (each for each in loggers if isinstance(each, WandbLogger)):
        row_of = {str(id_): row for row, id_ in enumerate(part.audio["id"])}
        with tolerate_wandb_errors("the table of utterances"), _staged_in(folder):
            table = wandb.Table(columns=["id", "part", "reference", "hypothesis", "edits", "seconds", "audio"])
            for h in sample_evenly(hypotheses, count):
                waveform = np.asarray(part.audio[row_of[h.id]]["waveform"], np.int16)
                audio = wandb.Audio(waveform, sample_rate=SAMPLE_RATE)
                table.add_data(h.id, part.name, h.reference, h.hypothesis, h.edits, h.seconds, audio)
            logger.experiment.log({"utterances": table})


def log_checkpoint(loggers: list[Logger], folder: RunFolder) -> None:
    """Logs best.ckpt as an artifact of the run."""
    for logger in (each for each in loggers if isinstance(each, WandbLogger)):
        with tolerate_wandb_errors("the weights"):
            artifact = wandb.Artifact(f"khasr-{logger.experiment.id}", type="model")
            # Uploaded from its place, without a copy of the same size.
            artifact.add_file(str(folder.best), policy="immutable", skip_cache=True)
            logger.experiment.log_artifact(artifact)


@contextlib.contextmanager
def _staged_in(folder: RunFolder) -> Iterator[None]:
    """While entered, wandb stages files for upload in the run's folder instead of the user's data folder."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder.wandb)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def mark_preempting(loggers: list[Logger]) -> None:
    """Marks the run as preempted, so that wandb's sweep gives it to the next agent under the same id."""
    for logger in (each for each in loggers if isinstance(each, WandbLogger)):
        with tolerate_wandb_errors("the preemption"):
            logger.experiment.mark_preempting()


@contextlib.contextmanager
def tolerate_wandb_errors(what: str) -> Iterator[None]:
    """Prints an error of wandb instead of raising it; the run's folder holds everything that wandb gets."""
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        print(f"wandb: {what} could not be logged: {type(error).__name__}: {error}", file=sys.stderr)
