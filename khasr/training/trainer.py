"""Builds Lightning's Trainer."""

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import Strategy

from khasr.config import Config
from khasr.run.folder import RunFolder
from khasr.training.checkpoints import WholeFileIO
from khasr.training.devices import PRECISIONS


def build_trainer(
    config: Config,
    folder: RunFolder,
    total_steps: int,
    callbacks: list[pl.Callback],
    loggers: list[Logger],
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
        plugins=[WholeFileIO()],
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
