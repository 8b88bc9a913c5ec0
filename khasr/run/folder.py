"""The layout of a run's folder: the path of each file, and reading and writing the small ones."""

import csv
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from khasr.config import (
    Config,
    DecoderConfig,
    check_ranges,
    escape_interpolations,
    from_plain,
    read_plain_yaml,
    to_plain,
)


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, whether or not they exist yet."""

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> "RunFolder":
        """The folder at a path as a user writes it, where `~` is the home directory."""
        return cls(Path(path).expanduser())

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
        """The hypotheses of the best checkpoint."""
        return self.path / "hypotheses.tsv"

    @property
    def split(self) -> Path:
        """The part of each utterance; data.split=PATH uses the same split in a different run."""
        return self.path / "split.tsv"

    @property
    def results(self) -> Path:
        """Status, scores, training statistics and versions."""
        return self.path / "results.json"

    @property
    def lock(self) -> Path:
        """The file that is locked and exists while a process works on the run; see `khasr.run.lock`."""
        return self.path / ".run.lock"

    @property
    def traceback(self) -> Path:
        """The traceback of a run that failed."""
        return self.path / "traceback.txt"

    @property
    def decoder(self) -> Path:
        """The tuned decoder options; written by `khasr.tune`."""
        return self.path / "decoder.yaml"

    @property
    def confidence(self) -> Path:
        """The confidences of words, fitted on val for each decoder; written by `khasr.evaluate` and `khasr.tune`."""
        return self.path / "confidence.json"

    @property
    def reliability_picture(self) -> Path:
        """How often words are right, by confidence; written by `khasr.tune`."""
        return self.path / "reliability.png"

    @property
    def tuning(self) -> Path:
        """The trials that `decoder` was selected from."""
        return self.path / "tuning.json"

    @property
    def tuning_picture(self) -> Path:
        """The trials' WER over alpha and beta."""
        return self.path / "tuning.png"

    @property
    def log_probs(self) -> Path | None:
        """The folder of cached log-probabilities; None for a folder that is not a run, which is not written to."""
        return self.path / "log_probs" if self.is_run else None

    @property
    def wandb(self) -> Path:
        """The folder of wandb's files."""
        return self.path / "wandb"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The weights with the lowest WER on val."""
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        """Everything that resuming needs."""
        return self.checkpoints / "last.ckpt"

    @property
    def start(self) -> Path:
        """The initial weights that are in no pretrained file."""
        return self.checkpoints / "start.ckpt"

    def pending(self, checkpoint: Path) -> Path:
        """A complete checkpoint that is about to replace the given one; see `recover_checkpoints`."""
        return checkpoint.with_name(f"{checkpoint.name}.pending")

    def recover_checkpoints(self) -> None:
        """Completes or discards a pair of checkpoints whose process was killed while it replaced them.

        best.ckpt and last.ckpt of a validation are written as pending files and then renamed, best.ckpt first. A
        pending last.ckpt is therefore complete, and so is its best.ckpt, pending or renamed.
        """
        best, last = self.pending(self.best), self.pending(self.last)
        if last.is_file():
            if best.is_file():
                best.replace(self.best)
            last.replace(self.last)
        best.unlink(missing_ok=True)

    def drop_checkpoints(self, keep: tuple[Path, ...] = ()) -> None:
        """Deletes the checkpoints of a run that is finished, except those given."""
        for path in self.checkpoints.glob("*.ckpt*"):
            if path in keep:
                continue
            if path.is_dir():  # sharded
                shutil.rmtree(path)
            else:
                path.unlink()

    def kept(self, step: int) -> Path:
        """The weights of a step that is kept for averaging at the end of the run."""
        return self.checkpoints / f"kept_{step}.ckpt"

    @property
    def is_run(self) -> bool:
        """Whether the folder is the folder of a khasr run: it has a config.yaml."""
        return self.config.is_file()

    @property
    def weights(self) -> Path | None:
        """The best checkpoint, or the last if there is no best; None without checkpoints."""
        return next((path for path in (self.best, self.last) if path.is_file()), None)

    def read_config(self) -> Config:
        """The options of the run.

        Raises:
            FileNotFoundError: no config.yaml.
            ValueError: config.yaml does not hold the options of a run.
        """
        if not self.is_run:
            raise FileNotFoundError(
                f"{self.path} has no config.yaml; expected the folder of a run, as `python -m khasr.train` prints it."
            )
        try:
            options = read_plain_yaml(self.config)
            if "resume" not in options:  # the last option that is written
                raise ValueError("the file is incomplete.")
            return cast(Config, OmegaConf.to_object(from_plain(options)))
        except (ValueError, TypeError, AttributeError, OmegaConfBaseException) as error:
            raise ValueError(
                f"{self.config} does not hold the options of a run: {_one_line(error)} Restore the file; python -m "
                "khasr.train wrote it at the start of the run."
            ) from error

    def write_config(self, config: Config) -> None:
        """Writes config.yaml; creates the folder if it does not exist."""
        self.path.mkdir(parents=True, exist_ok=True)
        plain = to_plain(config)
        if config.sweep.trial is not None:
            plain["sweep"] = asdict(type(config.sweep)())  # of the search, whose storage can have a password in its URL
        write_whole(self.config, yaml.safe_dump(plain, allow_unicode=True, sort_keys=False))

    def read_decoder(self) -> DecoderConfig | None:
        """The tuned decoder options; None if the run has not been tuned.

        A language model inside the folder, as in one of khasr.export, may be relative to it.

        Raises:
            ValueError: decoder.yaml does not hold decoder options.
        """
        if not self.decoder.is_file():
            return None
        try:
            plain = OmegaConf.create(escape_interpolations(read_plain_yaml(self.decoder)))
            merged = OmegaConf.merge(OmegaConf.structured(DecoderConfig), plain)
            options = cast(DecoderConfig, OmegaConf.to_object(merged))
            check_ranges(options)
        except (ValueError, OmegaConfBaseException) as error:
            raise ValueError(
                f"{self.decoder} does not hold decoder options: {_one_line(error)} Delete the file, or write it again "
                f"with python -m khasr.tune run={self.path} lm=LM."
            ) from error
        if options.lm is not None and (self.path / options.lm).exists():  # of an exported folder: relative to it
            options.lm = str(self.path / options.lm)
        return options

    def write_decoder(self, options: DecoderConfig) -> None:
        """Writes decoder.yaml."""
        write_whole(self.decoder, yaml.safe_dump(asdict(options), sort_keys=False))

    def read_results(self) -> dict[str, Any]:
        """The contents of results.json.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: it does not hold the results of a run.
        """
        try:
            results = json.loads(self.results.read_text(encoding="utf-8"))
            if not isinstance(results, dict) or not isinstance(results.get("status"), str):
                raise ValueError("no object with a status.")
            parts = [results.get(part) for part in ("val", "test", "train")]
            if any(part is not None and not isinstance(part, dict) for part in parts):
                raise ValueError("val, test and train are objects or null.")
        except (ValueError, RecursionError) as error:  # json's and Unicode's too
            raise ValueError(
                f"{self.results} does not hold the results of a run: {_one_line(error)} If the run has "
                f"checkpoints/last.ckpt, resume={self.path} writes the file again."
            ) from error
        return results

    def write_results(self, results: dict[str, Any]) -> None:
        """Writes results.json atomically."""
        write_whole(self.results, json.dumps(results, ensure_ascii=False, indent=2) + "\n")


def read_config(folder: str | Path) -> Config:
    """The options of the run in a folder; see `RunFolder.read_config`."""
    return RunFolder.at(folder).read_config()


def _one_line(error: Exception) -> str:
    """The message of an error as one sentence; OmegaConf's starts with the option's name."""
    text = " ".join(str(error).split("full_key:")[0].split()).rstrip(".")
    name = getattr(error, "full_key", None)
    return f"{name}: {text}." if name else f"{text}."


def write_whole(path: Path, text: str) -> None:
    """Writes a text file atomically: a reader finds the old contents or the new ones, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv, each with the columns that have a value; rows that are cut or damaged are left out."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = [{k: v for k, v in row.items() if k and v} for row in csv.DictReader(file)]
    return [row for row in rows if row.get("step", "").isdigit() and all(map(_is_number, row.values()))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
