"""The loggers of a run: metrics.csv always, wandb and TensorBoard if requested."""

import contextlib
import csv
import importlib.util
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from khasr.config import Config
from khasr.run.folder import RunFolder, read_metrics, write_whole
from khasr.training.wandb_run import build_wandb_logger, tolerate_wandb_errors


class MetricsCsv(Logger):
    """Writes metrics.csv, one row per call, flushed immediately; keeps the rows of a resumed run.

    Lightning's own CSVLogger deletes the files that it finds in the folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._rows = read_metrics(path) if path.is_file() else []
        self._columns = list(dict.fromkeys(key for row in self._rows for key in row)) or ["step"]

    def forget_after(self, step: int) -> None:
        """Removes the rows of later steps, which a resumed run takes again."""
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
        """Does nothing: the options are in config.yaml."""

    @property
    def name(self) -> str:
        """Required by Lightning."""
        return "csv"

    @property
    def version(self) -> str:
        """Required by Lightning."""
        return ""

    def _rewrite(self) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._path, table.getvalue())


def build_loggers(config: Config, folder: RunFolder) -> list[Logger]:
    """The loggers of a run, metrics.csv first."""
    loggers: list[Logger] = [MetricsCsv(folder.metrics)]
    if config.logger.wandb is not None:
        loggers.append(build_wandb_logger(config, config.logger.wandb, folder))
    if config.logger.tensorboard is not None:
        loggers.append(TensorBoardLogger(folder.path, name="tensorboard", version=""))
    return loggers


def check_tensorboard() -> None:
    """Checks that TensorBoard is installed.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError("logger=tensorboard needs tensorboard: pip install 'khasr[tensorboard]'.")


def close_loggers(loggers: list[Logger], succeeded: bool) -> None:
    """Finalizes the loggers and finishes wandb's run, so that the next run of this process does not write to it."""
    for logger in loggers:
        of_wandb = isinstance(logger, WandbLogger)
        with tolerate_wandb_errors("the status of the run") if of_wandb else contextlib.nullcontext():
            logger.finalize("success" if succeeded else "failed")
        if of_wandb:
            with tolerate_wandb_errors("the end of the run"):
                wandb.finish(exit_code=0 if succeeded else 1)
