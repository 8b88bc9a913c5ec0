"""The results.json of a new run: versions, device, memory and commit."""

import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from khasr import __version__
from khasr.config import Config, TrainerConfig

RESULTS_SCHEMA = 1

_PACKAGES = (
    "torch", "torchaudio", "pytorch-lightning", "hydra-core", "transformers", "datasets", "torchmetrics", "wandb",
    "pyctcdecode", "kenlm", "numpy",
)  # fmt: skip


def new_results(config: Config) -> dict[str, Any]:
    """The results of a run that has just started; a killed run leaves them unchanged."""
    return {
        "schema": RESULTS_SCHEMA,
        "status": "interrupted",
        "commit": _commit(),
        "versions": {"khasr": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        "device": device_name(uses_gpu(config.trainer)),
        "model": config.model.name,
        "data": config.data.name,
        "seed": config.seed,
        "val": None,
        "test": None,
        "train": None,
        "trouble": None,
    }


def uses_gpu(options: TrainerConfig) -> bool:
    """Whether a run with these options trains on a GPU of this machine."""
    return options.accelerator != "cpu" and torch.cuda.is_available()


def device_name(gpu: bool) -> str:
    """The name of the GPU if it is used; else the name of the CPU and the number of torch's threads."""
    if gpu:
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads"


def peak_memory_gib(gpu: bool) -> float:
    """Peak memory of this process in GiB: allocated on the GPU if it is used, else resident."""
    if gpu:
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # kilobytes on Linux, bytes on macOS


def _commit() -> str | None:
    """The commit of this checkout, with the suffix "-dirty" if tracked files differ; None outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    # An installed khasr may be in an environment inside the checkout of a different project.
    if top is None or Path(top) != here.parent.parent:
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
