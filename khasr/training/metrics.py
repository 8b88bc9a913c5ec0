"""Where metrics go: metrics.csv always, wandb and TensorBoard where asked."""

import contextlib
import csv
import importlib.util
import io
import os
import sys
import uuid
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from khasr.config import Config, WandbLoggerConfig, to_plain
from khasr.data.audio import SAMPLE_RATE
from khasr.data.datamodule import Part
from khasr.scoring.evaluate import Hypothesis, evenly
from khasr.training.interrupts import Interrupted
from khasr.training.run_folder import RunFolder, write_whole


class MetricsCsv(Logger):
    """metrics.csv: a row whenever something is logged, on disk at once, kept when a run is resumed.

    Lightning's own CSVLogger deletes what it finds in the folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._rows = read_metrics(path) if path.is_file() else []
        self._columns = list(dict.fromkeys(key for row in self._rows for key in row)) or ["step"]

    def forget_after(self, step: int) -> None:
        """Takes back the rows of later steps: what a run did after the checkpoint that it goes on from."""
        self._rows = [row for row in self._rows if int(row["step"]) <= step]
        self._rewrite()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds a row."""
        row = {"step": str(step)} | {key: repr(value) for key, value in metrics.items()}
        self._rows.append(row)
        new = [key for key in row if key not in self._columns]
        if new or not self._path.is_file():
            self._columns += new
            self._rewrite()
        else:
            with self._path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml has them."""

    @property
    def name(self) -> str:
        """Lightning asks for one."""
        return "csv"

    @property
    def version(self) -> str:
        """Lightning asks for one."""
        return ""

    def _rewrite(self) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._path, table.getvalue())


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv, each with the columns it has a value for; a row cut short by a crash is left out."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{k: v for k, v in row.items() if k and v} for row in csv.DictReader(file)]
    return [row for row in rows if row.get("step", "").isdigit() and all(map(_is_number, row.values()))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def build_loggers(config: Config, folder: RunFolder) -> list[Logger]:
    """The loggers of a run, metrics.csv first."""
    loggers: list[Logger] = [MetricsCsv(folder.metrics)]
    if config.logger.wandb is not None:
        loggers.append(_wandb_logger(config, config.logger.wandb, folder))
    if config.logger.tensorboard is not None:
        loggers.append(TensorBoardLogger(folder.path, name="tensorboard", version=""))
    return loggers


def check_tensorboard() -> None:
    """Looks whether TensorBoard is installed.

    Raises:
        ModuleNotFoundError: it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError("logger=tensorboard needs tensorboard: pip install 'khasr[tensorboard]'.")


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
        shown = [(h, np.asarray(part.audio[row_of[h.id]]["waveform"], np.int16)) for h in evenly(hypotheses, count)]
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


def close_loggers(loggers: list[Logger], succeeded: bool) -> None:
    """Ends them; wandb's run too, since a second run in the same process would go on writing to it."""
    for logger in loggers:
        of_wandb = isinstance(logger, WandbLogger)
        with _without_wandb("how the run ended") if of_wandb else contextlib.nullcontext():
            logger.finalize("success" if succeeded else "failed")
        if of_wandb:
            with _without_wandb("that the run ended"):
                wandb.finish(exit_code=0 if succeeded else 1)


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
