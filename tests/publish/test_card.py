"""With the figures of the published card, the generated card has all of its fields."""

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from khasr.config import Config
from khasr.publish.card import Card, Evaluation, Rates, hyperparameters, write_card
from khasr.run.published import CARD_CURVE
from tests.conftest import SHARED, needs_shared

SEED = SHARED / "seed" / "wav2vec2-xls-r-1b-km.md"
GREEDY, WITH_LM = Rates(0.4490281634272114, 0.12198285179047481), Rates(0.32130107100357, 0.09345053678218891)
NOTES = [
    "Since this dataset is small (4 hours of voice recording), we decided not to train that for too long to avoid "
    "overfitting and under-generalization.",
    "This model performs worse than its 300M-variant. Probably, we don't explore the hyper-parameter enough?",
]


def of_seed(compose: Any) -> Card:
    config: Config = compose("experiment=card_1b")
    return Card(
        name="wav2vec2-xls-r-1b-km",
        base_model="facebook/wav2vec2-xls-r-1b",
        dataset="openslr",
        dataset_name="OpenSLR",
        part="self-split 10%",
        languages=["km"],
        tags=["automatic-speech-recognition", "openslr", "robust-speech-event", "km", "generated_from_trainer"],
        evaluations=[
            Evaluation("OpenSLR km", "openslr", "km", WITH_LM),
            Evaluation(
                "Robust Speech Event - Dev Data", "speech-recognition-community-v2/dev_data", "km", WITH_LM,
                task_name="Automatic Speech Recognition",
            ),
        ],
        val_loss=0.4239,
        val_wer=0.4221,
        greedy=GREEDY,
        with_lm=WITH_LM,
        hyperparameters=hyperparameters(config),
        rows=CARD_CURVE,
        versions={
            "Transformers": "4.17.0.dev0", "Pytorch": "1.10.2+cu102", "Datasets": "1.18.2.dev0", "Tokenizers": "0.11.0"
        },
        notes=NOTES,
    )  # fmt: skip


def parts(card: str) -> tuple[dict[str, Any], str]:
    _, block, body = card.split("---\n", 2)
    return yaml.safe_load(block), body


def fields(body: str) -> dict[str, str]:
    """Every "- name: value" line; WER and CER of evaluations by the heading above them."""
    found, heading = {}, ""
    for line in body.splitlines():
        if line.startswith("#"):
            heading = " with LM" if "with LM" in line else ""
        elif match := re.fullmatch(r"- ([\w ]+): (.+)", line):
            found[match[1] + heading] = match[2]
    return found


def rows(body: str) -> list[list[float]]:
    return [
        [float(cell) for cell in line.strip("|").split("|")] for line in body.splitlines() if re.match(r"\| +\d", line)
    ]


@needs_shared
def test_published_card(compose: Any) -> None:
    theirs, their_body = parts(SEED.read_text(encoding="utf-8"))
    ours, our_body = parts(write_card(of_seed(compose)))
    for key in ("language", "license", "tags", "datasets"):
        assert ours[key] == theirs[key], key
    (our_index,), (their_index,) = ours["model-index"], theirs["model-index"]
    assert our_index["name"] == their_index["name"]
    assert len(our_index["results"]) == len(their_index["results"]) == 2
    for our_result, their_result in zip(our_index["results"], their_index["results"], strict=True):
        assert {k: v.strip() for k, v in their_result["task"].items()} == our_result["task"]
        assert our_result["dataset"] == their_result["dataset"]
        assert our_result["metrics"] == their_result["metrics"]
    our_fields, their_fields = fields(our_body), fields(their_body)
    assert set(their_fields) <= set(our_fields)
    assert len(their_fields) == 17  # 2 of val, 4 of test, 11 hyperparameters
    for key, value in their_fields.items():
        assert our_fields[key] == value, key
    assert rows(our_body) == rows(their_body)
    assert len(rows(our_body)) == 13
    headings = [line.strip("# ").split(" (")[0] for line in their_body.splitlines() if line.startswith("#")]
    for heading in filter(None, headings):
        assert f"# {heading}" in our_body, heading
    versions = their_body.split("### Framework versions")[1].split()
    assert versions == our_body.split("### Framework versions")[1].split()
    for sentence in (*NOTES, "[facebook/wav2vec2-xls-r-1b](https://huggingface.co/facebook/wav2vec2-xls-r-1b)"):
        assert sentence in their_body
        assert sentence in our_body


def test_missing_scores(compose: Any) -> None:
    card = replace(
        of_seed(compose), greedy=None, with_lm=None, evaluations=[], notes=[], base_model=None, val_loss=None
    )
    block, body = parts(write_card(card))
    assert "model-index" not in block
    assert "Evaluation results" not in body
    assert "# Note" not in body
    assert "Loss:" not in body
    assert "trained from random weights" in body


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["schedule=tri_stage"], {"lr_scheduler_type": "tri_stage", "lr_scheduler_warmup_ratio": "0.1"}),
        (["trainer.max_steps=9"], {"training_steps": "9"}),
        (["precision=bf16"], {"mixed_precision_training": "Native AMP, bfloat16"}),
        (["trainer.devices=2"], {"total_train_batch_size": "64", "num_devices": "2"}),
        (["optimizer.weight_decay=0.01"], {"optimizer": "AdamW with betas=(0.9,0.999) and epsilon=1e-08"}),
    ],
)
def test_hyperparameters(compose: Any, overrides: list[str], expected: dict[str, str]) -> None:
    assert expected.items() <= hyperparameters(compose(*overrides)).items()
    assert "mixed_precision_training" not in hyperparameters(compose("precision=fp32"))
