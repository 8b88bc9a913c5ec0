"""A run's folder: what lies where, and how it is written."""

import csv
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from khasr import __version__
from khasr.config import Config, to_plain
from khasr.data.splits import Parts, manifest
from khasr.model.weights import BEST, LAST
from khasr.scoring.evaluate import Hypothesis

RESULTS_SCHEMA = 1
_PACKAGES = (
    "torch", "torchaudio", "pytorch-lightning", "hydra-core", "transformers", "datasets", "torchmetrics", "wandb",
    "pyctcdecode", "kenlm", "numpy",
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """Every option, resolved."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """Metrics by optimizer step."""
        return self.path / "metrics.csv"

    @property
    def learning_curve(self) -> Path:
        """The metrics as a picture."""
        return self.path / "learning_curve.png"

    @property
    def hypotheses(self) -> Path:
        """What the best checkpoint heard."""
        return self.path / "hypotheses.tsv"

    @property
    def results(self) -> Path:
        """What came of the run."""
        return self.path / "results.json"

    @property
    def best(self) -> Path:
        """Weights with the lowest WER on val."""
        return self.path / BEST

    @property
    def last(self) -> Path:
        """All that resuming needs."""
        return self.path / LAST

    @property
    def start(self) -> Path:
        """Weights that the run began with and no pretrained file holds."""
        return self.best.with_name("start.ckpt")

    def kept(self, step: int) -> Path:
        """Weights kept to be averaged at the run's end."""
        return self.best.with_name(f"kept_{step}.ckpt")

    def write_config(self, config: Config) -> None:
        """Writes config.yaml."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.config, yaml.safe_dump(to_plain(config), allow_unicode=True, sort_keys=False))

    def write_split(self, parts: Parts) -> None:
        """Writes split.tsv, which data.split=PATH gives to another run."""
        write_whole(self.path / "split.tsv", manifest(parts))

    def write_results(self, results: dict[str, Any]) -> None:
        """Writes results.json, whole or not at all."""
        write_whole(self.results, json.dumps(results, ensure_ascii=False, indent=2) + "\n")

    def read_results(self) -> dict[str, Any]:
        """What results.json holds."""
        results: dict[str, Any] = json.loads(self.results.read_text(encoding="utf-8"))
        return results

    def write_hypotheses(self, parts: Iterable[tuple[str, list[Hypothesis]]]) -> None:
        """Writes hypotheses.tsv: a line an utterance, the part it is of last."""
        with self.hypotheses.open("w", encoding="utf-8", newline="") as file:
            # Texts are normalised: no tab or line end is in them.
            rows = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
            rows.writerow(["id", "reference", "hypothesis", "edits", "seconds", "part"])
            for part, hypotheses in parts:
                rows.writerows([h.id, h.reference, h.hypothesis, h.edits, f"{h.seconds:.3f}", part] for h in hypotheses)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file beside its place and renames it: it is there whole or as it was."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def new_results(config: Config) -> dict[str, Any]:
    """The results of a run that has only begun; a run that is killed leaves them so."""
    return {
        "schema": RESULTS_SCHEMA,
        "status": "interrupted",
        "commit": _commit(),
        "versions": {"khasr": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        "device": device_name(),
        "model": config.model.name,
        "data": config.data.name,
        "seed": config.seed,
        "val": None,
        "test": None,
        "train": None,
        "trouble": None,
    }


def device_name() -> str:
    """The GPU's name, or the CPU's with the threads torch uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads"


def peak_memory_gib() -> float:
    """The most memory this process has held: the GPU's where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # kilobytes on Linux, bytes on macOS


def _commit() -> str | None:
    """khasr's own commit, "-dirty" behind it where files differ; None outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    # An installed khasr may lie in an environment inside somebody else's checkout.
    if top is None or Path(top) != here.parent.parent:
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
