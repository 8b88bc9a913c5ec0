"""Where metrics go: metrics.csv always, wandb and TensorBoard where asked."""

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
from khasr.training.wandb_run import (
    _wandb_logger,
    _without_wandb,
)


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


def close_loggers(loggers: list[Logger], succeeded: bool) -> None:
    """Ends them; wandb's run too, since a second run in the same process would go on writing to it."""
    for logger in loggers:
        of_wandb = isinstance(logger, WandbLogger)
        with _without_wandb("how the run ended") if of_wandb else contextlib.nullcontext():
            logger.finalize("success" if succeeded else "failed")
        if of_wandb:
            with _without_wandb("that the run ended"):
                wandb.finish(exit_code=0 if succeeded else 1)
