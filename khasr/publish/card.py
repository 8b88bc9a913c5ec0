"""The model card of a run, in the form of the cards that transformers writes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from jinja2 import Environment, StrictUndefined

from khasr.config import Config, DataConfig, ModelConfig
from khasr.data.corpora import read_corpus
from khasr.data.splits import Row, is_manifest, resolve_auto
from khasr.publish.corpus import Corpus, Stated, describe_corpus
from khasr.run.folder import RunFolder, read_metrics
from khasr.run.published import PublishedRow
from khasr.text.counting import counted

TASK = "automatic-speech-recognition"


@dataclass(frozen=True)
class Rates:
    """WER and CER as fractions."""

    wer: float
    cer: float


@dataclass(frozen=True)
class Evaluation:
    """A row of the model-index of a card: a corpus and the best error rates on its test part."""

    dataset_name: str
    dataset_type: str
    dataset_args: str | None
    rates: Rates
    task_name: str = "Speech Recognition"


@dataclass
class Card:
    """The contents of a card; lists may be empty, and fields that are None are left out.

    Attributes:
        base_model: its id on the Hugging Face hub.
        dataset: the id of the corpus on the Hugging Face hub.
        dataset_name: the corpus in words.
        origin: where the weights are from, if they have no base_model.
        val_loss, val_wer: loss and WER on val, which cards call the evaluation set.
        greedy: rates on test without a language model.
        with_lm: rates on test with a language model.
        hyperparameters: values by the names of transformers.
        rows: the table of validations.
        versions: versions by package name.
    """

    name: str
    base_model: str | None
    dataset: str | None
    dataset_name: str
    languages: list[str] | None
    tags: list[str]
    evaluations: list[Evaluation]
    val_loss: float | None
    val_wer: float
    greedy: Rates | None
    with_lm: Rates | None
    hyperparameters: dict[str, str]
    rows: Sequence[PublishedRow]
    versions: dict[str, str]
    part: str = "the test part"
    license: str | None = None
    origin: str = "trained from random weights"
    notes: list[str] = field(default_factory=list)
    attribution: str = "More information needed"


_BODY = """
# {{ card.name }}

This model is {% if card.base_model %}a fine-tuned version of [{{ card.base_model }}](https://huggingface.co/{{ card.base_model }}){% else %}{{ card.origin }}{% endif %} on {{ card.dataset_name }}.
It achieves the following results on the evaluation set:
{% if card.val_loss is not none %}- Loss: {{ "%.4f" | format(card.val_loss) }}
{% endif %}- Wer: {{ "%.4f" | format(card.val_wer) }}
{% for title, rates in [("", card.greedy), (" with LM ngram", card.with_lm)] if rates %}
# Evaluation results on {{ card.dataset_name }} "test"{{ title }} ({{ card.part }}):
- WER: {{ "%.4f" | format(rates.wer) }}
- CER: {{ "%.4f" | format(rates.cer) }}
{% endfor %}
{%- if card.notes %}
# Note
{% for note in card.notes %}- {{ note }}
{% endfor %}{% endif %}
## Model description

An encoder with a linear CTC head, trained by khasr.

## Intended uses & limitations

Recognition of speech like that of the corpus, at 16 kHz, one speaker at a time. Other uses were not evaluated.

## Training and evaluation data

{{ card.attribution }}

## Training procedure

### Training hyperparameters

The following hyperparameters were used during training:
{% for name, value in card.hyperparameters.items() %}- {{ name }}: {{ value }}
{% endfor %}
### Training results

| Training Loss | Epoch | Step | Validation Loss | Wer    |
|:-------------:|:-----:|:----:|:---------------:|:------:|
{% for row in card.rows %}| {{ "%.4f" | format(row.train_loss) }} | {{ "%.2f" | format(row.epoch) }} | {{ row.step }} | {{ "%.4f" | format(row.val_loss) }} | {{ "%.4f" | format(row.wer) }} |
{% endfor %}
### Framework versions

{% for name, version in card.versions.items() %}- {{ name }} {{ version }}
{% endfor %}"""  # noqa: E501 - lines of a template are lines of the card


def write_card(card: Card) -> str:
    """The card as Markdown, starting with a YAML block with the model-index."""
    results = [
        EvalResult(
            task_type=TASK,
            task_name=evaluation.task_name,
            dataset_name=evaluation.dataset_name,
            dataset_type=evaluation.dataset_type,
            dataset_args=evaluation.dataset_args,  # type: ignore[arg-type]
            metric_type=kind,
            metric_name=f"Test {kind.upper()}",
            metric_value=round(100 * rate, 2),
        )
        for evaluation in card.evaluations
        for kind, rate in (("wer", evaluation.rates.wer), ("cer", evaluation.rates.cer))
    ]
    data = ModelCardData(
        language=card.languages,
        license=card.license,
        tags=card.tags,
        datasets=[card.dataset] if card.dataset else None,
        base_model=card.base_model,
        model_name=card.name,
        eval_results=results or None,
    )
    body = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(_BODY)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{body.render(card=card)}"))


def card_of_run(folder: RunFolder, name: str, with_lm: Rates | None = None, stated: Stated | None = None) -> Card:
    """The card of a run; of an interrupted one with its best validation, its steps and a note.

    Args:
        with_lm: WER and CER on test with the n-gram, if they were measured.
        stated: language, licence and dataset, in place of those that are known of the corpus.

    Raises:
        ValueError: the run has no validation yet.
    """
    results = folder.read_results()
    rows = training_rows(folder.metrics) if folder.metrics.is_file() else []
    unfinished = describe_interruption(folder)
    if unfinished is None:
        val_wer, test = results["val"]["wer"], results["test"]
    elif rows:
        # Scores of the test part, if any, are of the weights before the run was resumed.
        val_wer, test = min(row.wer for row in rows), None
    else:
        raise ValueError(
            f"{folder.path}: status {results['status']}, and no validation yet. Resume the run with "
            f"resume={folder.path}."
        )
    config = folder.read_config()
    corpus = describe_corpus(config.data, stated or Stated())
    greedy = Rates(test["wer"], test["cer"]) if test else None
    if config.decoder.name == "beam_lm":
        greedy, with_lm = None, with_lm or greedy
    best = with_lm or greedy
    base_model, origin = describe_start(config.model)
    return Card(
        name=name,
        base_model=base_model,
        dataset=corpus.id,
        dataset_name=corpus.name,
        languages=corpus.languages or None,
        tags=[TASK, *([corpus.id] if corpus.id else []), *corpus.languages, "generated_from_trainer", "khasr"],
        # A model-index names a dataset of the hub.
        evaluations=[Evaluation(corpus.name, corpus.id, corpus.config, best)] if best and corpus.id else [],
        val_loss=min(rows, key=lambda row: row.wer).val_loss if rows else None,
        val_wer=val_wer,
        greedy=greedy,
        with_lm=with_lm,
        hyperparameters=hyperparameters(config) | ({"training_steps": unfinished} if unfinished else {}),
        rows=rows,
        versions=_versions(results["versions"]),
        part=f"{describe_split(config.data)}{counted(test['utterances'], 'utterance')}" if test else "not read",
        license=corpus.license,
        origin=origin,
        notes=_notes(unfinished, best is not None),
        attribution=_attribution(corpus, results["train"] or {}),
    )


def describe_split(options: DataConfig) -> str:
    """The split of a run in words, with a comma after it; empty if it depends on a corpus that cannot be read."""
    if is_manifest(options.split):
        return f"split of {Path(options.split).name}, "
    if options.split != "auto":
        return f"{options.split} split, "
    try:
        rows = [Row(u.id, own_part=u.own_part) for u in read_corpus(options).utterances]
    except (OSError, ValueError):
        return ""
    return "the corpus's own split, " if resolve_auto("auto", rows) == "own" else "random split, "


def describe_start(model: ModelConfig) -> tuple[str | None, str]:
    """The id of the pretrained weights on the Hugging Face hub, or None; and where the weights are from, in words.

    A checkpoint of this machine is named by its folder, and a khasr run by the weights that it was started from.
    """
    if model.init != "pretrained" or not model.checkpoint:
        return None, "trained from random weights"
    path = Path(model.checkpoint).expanduser()
    run = RunFolder(path)
    if run.is_run:
        earlier, origin = describe_start(run.read_config().model)
        return earlier, f"{origin}, then fine-tuned from the run {path.resolve().name}"
    if path.exists() or not _is_on_hub(model.checkpoint):
        return None, f"fine-tuned from the weights in {path.name}"
    return model.checkpoint, ""


def _is_on_hub(checkpoint: str) -> bool:
    """Whether a checkpoint is known as a model of the hub: a local path that has moved looks like an id."""
    if checkpoint.startswith("facebook/"):
        return True
    try:
        return isinstance(try_to_load_from_cache(checkpoint, "config.json"), str)
    except HFValidationError:
        return False


def _attribution(corpus: Corpus, train: dict[str, Any]) -> str:
    hours = train.get("hours")
    size = "" if hours is None else f" Training part: {hours:.3g} hours of audio."
    return f"{corpus.attribution.rstrip('.')}.{size}" if size else corpus.attribution


def describe_interruption(folder: RunFolder) -> str | None:
    """The number of steps that a run took and planned, in words; None if the run is complete."""
    results = folder.read_results()
    if results["status"] == "completed" and results["val"] is not None:
        return None
    train = results["train"] or {}
    logged = [int(row["step"]) for row in read_metrics(folder.metrics)] if folder.metrics.is_file() else []
    steps = max([train.get("steps") or 0, *logged])
    planned = train.get("planned_steps")
    return f"{steps:,}" + (f" of {planned:,} planned" if planned else "")


def _notes(unfinished: str | None, scored: bool) -> list[str]:
    notes = []
    if unfinished is not None:
        notes.append(
            f"Training was interrupted: {unfinished} steps were taken. These are the weights with the lowest WER on "
            "the evaluation set until then."
        )
    if not scored:
        notes.append("The test part was not scored: there is no test WER.")
    return notes


def hyperparameters(config: Config) -> dict[str, str]:
    """The settings of a run by transformers' names, as in its cards."""
    optimizer, trainer, schedule = config.optimizer, config.trainer, config.schedule
    devices = trainer.devices * trainer.num_nodes
    first, second = optimizer.betas
    seconds, at_once = config.data.batch_seconds, trainer.accumulate_grad_batches * devices
    batch = f"{config.data.batch_size}" if seconds is None else f"{seconds:g} s of audio"
    total = f"{config.data.batch_size * at_once}" if seconds is None else f"{seconds * at_once:g} s of audio"
    names = {"adamw": "Adam" if optimizer.weight_decay == 0 else "AdamW"}
    found = {
        "learning_rate": f"{optimizer.lr:g}",
        "train_batch_size": batch,
        "eval_batch_size": f"{config.data.eval_batch_size}",
        "seed": f"{config.seed}",
        "gradient_accumulation_steps": f"{trainer.accumulate_grad_batches}",
        "total_train_batch_size": total,
        "optimizer": f"{names.get(optimizer.name, optimizer.name)} with betas=({first:g},{second:g}) "
        f"and epsilon={optimizer.eps:g}",
        "lr_scheduler_type": schedule.name,
    }
    if schedule.warmup < 1:
        found["lr_scheduler_warmup_ratio"] = f"{schedule.warmup:g}"
    else:
        found["lr_scheduler_warmup_steps"] = f"{schedule.warmup:g}"
    if trainer.max_steps is None:
        found["num_epochs"] = f"{trainer.max_epochs:g}"
    else:
        found["training_steps"] = f"{trainer.max_steps}"
    if devices > 1:
        found["num_devices"] = f"{devices}"
    precision = {"fp16": "Native AMP", "bf16": "Native AMP, bfloat16"}.get(config.precision.name)
    if precision:
        found["mixed_precision_training"] = precision
    return found


def training_rows(metrics: Path) -> list[PublishedRow]:
    """A row for each validation, with the mean training loss since the previous one."""
    found, losses = [], []
    for row in read_metrics(metrics):
        if "train/loss" in row:
            losses.append(float(row["train/loss"]))
        if "val/wer" in row:
            loss = sum(losses) / len(losses) if losses else float("nan")
            found.append(
                PublishedRow(loss, float(row["epoch"]), int(row["step"]), float(row["val/loss"]), float(row["val/wer"]))
            )
            losses = []
    return found


def _versions(versions: dict[str, Any]) -> dict[str, str]:
    names = {
        "transformers": "Transformers",
        "torch": "Pytorch",
        "datasets": "Datasets",
        "pytorch-lightning": "Lightning",
    }
    found = {title: str(versions[name]) for name, title in names.items() if name in versions}
    return found | {"Tokenizers": metadata.version("tokenizers"), "khasr": str(versions["khasr"])}


def read_evaluation(path: Path, run: Path) -> Rates:
    """WER and CER with a language model, of an evaluation.json that `python -m khasr.evaluate` wrote.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is of a different run or part, or without a language model.
    """
    path = path / "evaluation.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected the evaluation.json of python -m khasr.evaluate.")
    found = json.loads(path.read_text(encoding="utf-8"))
    is_of = (Path(found["run"]).expanduser().resolve(), found["part"], found["decoder"]["name"])
    if is_of != (run.resolve(), "test", "beam_lm"):
        raise ValueError(
            f"{path} is of run={found['run']} part={found['part']} decoder={found['decoder']['name']}; expected "
            f"{run}, test and beam_lm."
        )
    return Rates(found["rates"]["wer"]["rate"], found["rates"]["cer"]["rate"])
