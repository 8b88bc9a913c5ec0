"""Runs on one device in a job that has several processes, such as the trials of a sweep on Slurm."""

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.utilities import rank_zero_only

from khasr.config import TrainerConfig


def is_alone(options: TrainerConfig) -> bool:
    """Whether the run has one process, whatever else its job runs. A run of torchrun has those that it started."""
    return options.devices == 1 and options.num_nodes == 1 and not TorchElasticEnvironment.detect()


def leave_ranks(options: TrainerConfig) -> None:
    """Makes the process of a run on one device its first process; Lightning takes Slurm's task number for its rank."""
    if is_alone(options):
        rank_zero_only.rank = 0  # type: ignore[attr-defined]


def cluster_environment(options: TrainerConfig) -> list[ClusterEnvironment]:
    """Lightning's plugin for a run on one device, for which Slurm's number of tasks does not matter.

    Without it, Lightning compares `--ntasks-per-node` with the number of devices and raises, or suggests `srun`.
    """
    return [LightningEnvironment()] if is_alone(options) else []
