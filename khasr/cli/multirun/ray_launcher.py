"""Runs of a sweep on Ray: waits for all of them, whichever fail, and has them saved when the sweep is stopped."""

import signal
from collections.abc import Sequence
from typing import Any

import ray
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_ray_launcher._launcher_util import launch_job_on_ray, start_ray
from omegaconf import DictConfig, OmegaConf, open_dict
from ray.exceptions import RayError, TaskCancelledError

from khasr.cli.multirun.losses import report_lost


class PatientRayLauncher(Launcher):
    """Hydra's Ray launcher, except that the error of one run does not end the sweep.

    The plugin reads the results in turn, so that the error of the first killed worker would end the sweep and all runs.
    """

    def __init__(self, launcher: Any) -> None:
        self._launcher = launcher
        self._stopped = False

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Does nothing: the plugin's launcher has been set up."""

    def stop(self) -> None:
        """Has the running jobs saved and the others not begun; called by a signal handler."""
        self._stopped = True

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn | None]:  # type: ignore[override]
        """Runs the jobs; None for each that returned nothing, because its worker was killed or it was stopped."""
        setup_globals()
        handler = signal.getsignal(signal.SIGTERM)
        start_ray(OmegaConf.create(OmegaConf.to_container(self._launcher.ray_cfg.init, resolve=True)))
        signal.signal(signal.SIGTERM, handler)  # Ray has installed one that ends the process
        jobs = [self._submit(overrides, number) for number, overrides in enumerate(job_overrides, initial_job_idx)]
        cancelled, left = False, jobs
        while left:
            _, left = ray.wait(left, num_returns=len(left), timeout=0.5)
            if self._stopped and not cancelled:
                cancelled = True
                for job in left:
                    ray.cancel(job)  # as if its worker had got SIGINT
        return [_result(job) for job in jobs]

    def _submit(self, overrides: Sequence[str], number: int) -> Any:
        """Submits a job as the plugin does."""
        launcher = self._launcher
        composed = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = f"job_id_for_{number}"
            composed.hydra.job.num = number
        return launch_job_on_ray(
            launcher.hydra_context, launcher.ray_cfg.remote, composed, launcher.task_function, Singleton.get_state()
        )


def _result(job: Any) -> JobReturn | None:
    try:
        returned: JobReturn = ray.get(job)
    except TaskCancelledError:
        return None
    except RayError as error:
        report_lost(error)
        return None
    return returned
