"""A run's folder: what lies where, and how it is written."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf

from khasr.config import Config, from_plain, to_plain

BEST = "checkpoints/best.ckpt"


LAST = "checkpoints/last.ckpt"


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
    def split(self) -> Path:
        """The part of each utterance; data.split=PATH gives it to another run."""
        return self.path / "split.tsv"

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

    def write_results(self, results: dict[str, Any]) -> None:
        """Writes results.json, whole or not at all."""
        write_whole(self.results, json.dumps(results, ensure_ascii=False, indent=2) + "\n")

    def read_results(self) -> dict[str, Any]:
        """What results.json holds."""
        results: dict[str, Any] = json.loads(self.results.read_text(encoding="utf-8"))
        return results


def write_whole(path: Path, text: str) -> None:
    """Writes a text file beside its place and renames it: it is there whole or as it was."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_config(folder: Path) -> Config:
    """The options of the run in that folder, as its config.yaml has them.

    Raises:
        FileNotFoundError: it is not a run's folder.
    """
    path = folder.expanduser() / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no config.yaml; expected the folder of a run, as `python -m khasr.train` prints it."
        )
    return cast(Config, OmegaConf.to_object(from_plain(yaml.safe_load(path.read_text(encoding="utf-8")))))


def decoder_file(run: str) -> Path:
    """Where tuning leaves what it found for a run."""
    return Path(run).expanduser() / "decoder.yaml"


def keep_folder(run: str) -> Path | None:
    """Where a run's log-probabilities are kept: in its folder, and nowhere for what is not a khasr run."""
    path = Path(run).expanduser()
    return path / "log_probs" if (path / "config.yaml").is_file() else None


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
