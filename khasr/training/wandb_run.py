"""TODO."""

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


def _wandb_logger(config: Config, options: WandbLoggerConfig, folder: RunFolder) -> WandbLogger:
    mode: str = options.mode
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        if mode == "offline":
            print(f"wandb: offline; the run is sent later with `wandb sync {folder.path}/wandb/offline-*`")
    # The same id when the run is resumed, so that wandb goes on with it too.
    kept = folder.path / "wandb" / "id"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        # A sweep's agent has named the run; without one, the name would be that of every run of the shell.
        named = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        kept.write_text(named or uuid.uuid4().hex[:8])
    logger = WandbLogger(
        project=options.project,
        entity=options.entity,
        tags=options.tags,
        id=kept.read_text(),
        resume="allow",
        save_dir=str(folder.path),
        mode=mode,
        config=to_plain(config),
        # Its console capture would swallow the progress bar's carriage returns into the log.
        settings=wandb.Settings(console="off", silent=True),
    )
    _ = logger.experiment  # wandb's run begins here, before training has its signals, not at the first row
    return logger


def log_best(loggers: list[Logger], wer: float) -> None:
    """Makes wandb's summary, and so its exported table, have the WER on val of the weights that are kept.

    Its own is the last; by define_metric(summary="min") the least, but under the name val/wer.min.
    """
    for logger in (each for each in loggers if isinstance(each, WandbLogger)):
        with _without_wandb("the best WER"):
            logger.experiment.summary["val/wer"] = wer


def log_utterances(
    loggers: list[Logger], hypotheses: Sequence[Hypothesis], part: Part, folder: RunFolder, count: int
) -> None:
    """Gives wandb a table of so many utterances with their audio: right and wrong, from the most edits to the fewest.

    Nothing where `count` is 0.
    """
    if count == 0:
        return
    for logger in (each for each in loggers if isinstance(each, WandbLogger)):
        row_of = {str(id_): row for row, id_ in enumerate(part.audio["id"])}
        shown = [(h, np.asarray(part.audio[row_of[h.id]]["waveform"], np.int16)) for h in sample_evenly(hypotheses, count)]
        with _without_wandb("the table of utterances"), _staged_in(folder):
            table = wandb.Table(columns=["id", "part", "reference", "hypothesis", "edits", "seconds", "audio"])
            for h, waveform in shown:
                audio = wandb.Audio(waveform, sample_rate=SAMPLE_RATE)
                table.add_data(h.id, part.name, h.reference, h.hypothesis, h.edits, h.seconds, audio)
            logger.experiment.log({"utterances": table})


def log_checkpoint(loggers: list[Logger], folder: RunFolder) -> None:
    """Gives wandb the weights, as an artifact of the run."""
    for logger in (each for each in loggers if isinstance(each, WandbLogger)):
        with _without_wandb("the weights"):
            artifact = wandb.Artifact(f"khasr-{logger.experiment.id}", type="model")
            # Sent from where it is: a copy of it would be as large.
            artifact.add_file(str(folder.best), policy="immutable", skip_cache=True)
            logger.experiment.log_artifact(artifact)


@contextlib.contextmanager
def _staged_in(folder: RunFolder) -> Iterator[None]:
    """While entered, wandb keeps in the run's folder, not in the user's, what of a table is still to be sent."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder.path / "wandb")
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def mark_preempting(loggers: list[Logger]) -> None:
    """Tells wandb that the machine is taken away: its sweep gives the run to the next agent, under the same id."""
    for logger in (each for each in loggers if isinstance(each, WandbLogger)):
        with _without_wandb("that the run is preempted"):
            logger.experiment.mark_preempting()


@contextlib.contextmanager
def _without_wandb(what: str) -> Iterator[None]:
    """An error of wandb's is told and does not end the run, nor take the place of its exit code and its own error.

    All that is sent is in the run's folder too.
    """
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        print(f"wandb was not told {what}: {type(error).__name__}: {error}", file=sys.stderr)
