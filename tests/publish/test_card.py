"""With the figures of the published card, the generated card has all of its fields."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from khasr.config import Config
from khasr.publish.card import Card, Evaluation, Rates, describe_split, describe_start, hyperparameters, write_card
from khasr.publish.corpus import Corpus, Stated, describe_corpus
from khasr.run.folder import RunFolder
from khasr.run.published import CARD_CURVE
from tests.conftest import SHARED, needs_shared, write_corpus

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
        license="apache-2.0",
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
        # The published card has all digits of the test part's rates.
        expected = f"{float(value):.4f}" if key.startswith(("WER", "CER")) else value
        assert our_fields[key] == expected, key
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
        of_seed(compose), greedy=None, with_lm=None, evaluations=[], notes=[], base_model=None, val_loss=None,
        dataset=None, languages=None, license=None,
    )  # fmt: skip
    block, body = parts(write_card(card))
    assert not {"model-index", "datasets", "language", "license"} & set(block)
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


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data=openslr_km"], ("OpenSLR km", "openslr", ["km"], "cc-by-sa-4.0")),
        (["data=fleurs_km"], ("google/fleurs", "google/fleurs", ["km"], "cc-by-4.0")),
        (["data=hub", "data.dataset=me/speech", "data.files=raw/*.parquet"], ("me/speech", "me/speech", [], None)),
        (["data=dev_data_km"], ("speech-recognition-community-v2/dev_data",) * 2 + (["km"], None)),
        (["data=hub", "data.dataset=google/fleurs", "data.files=fr_fr/*/*.parquet"],
         ("google/fleurs", "google/fleurs", ["fr"], "cc-by-4.0")),
        (["data=hub", "data.root=/recordings/speech"], ("the corpus speech", None, [], None)),
        (["data=folder", "data.root=/recordings/french"], ("the corpus french", None, [], None)),
        (["data=folder", "data.root=/recordings/a", "data.text.language=fr"], ("the corpus a", None, ["fr"], None)),
        (["data=synthetic"], ("synthetic phrases", None, ["km"], None)),
        (["data=mix", "data.corpora=[{data:openslr_km},{data:fleurs_km}]"],
         ("OpenSLR km and google/fleurs", None, ["km"], None)),
    ],
)  # fmt: skip
def test_corpus(compose: Any, overrides: list[str], expected: tuple[Any, ...]) -> None:
    """Id, language and licence are those of the corpus where they are known; none is invented."""
    found = describe_corpus(compose(*overrides).data, Stated())
    assert (found.name, found.id, found.languages, found.license) == expected


def test_split(compose: Any, tmp_path: Path) -> None:
    """The card names the split, not data.split=auto, nor the folder of a manifest."""
    root = write_corpus(tmp_path / "c", count=3)
    words = ["data=folder", f"data.root='{root}'"]
    assert describe_split(compose(*words).data) == "random split, "
    table = (root / "utterances.tsv").read_text(encoding="utf-8").splitlines()
    parts = ["split", "train", "dev", "test"]
    lines = [f"{line}\t{part}" for line, part in zip(table, parts, strict=True)]
    (root / "utterances.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert describe_split(compose(*words).data) == "the corpus's own split, "
    assert describe_split(compose("data=folder", "data.root=/nowhere").data) == ""
    assert describe_split(compose("data=folder", "data.split=speaker").data) == "speaker split, "
    assert describe_split(compose("data=folder", "data.split=/home/me/split.tsv").data) == "split of split.tsv, "


def test_stated(compose: Any) -> None:
    data = compose("data=folder", "data.root=/recordings/french").data
    found = describe_corpus(data, Stated(["fr"], "cc0-1.0", "mozilla-foundation/common_voice_17_0"))
    assert (found.id, found.languages, found.license) == ("mozilla-foundation/common_voice_17_0", ["fr"], "cc0-1.0")
    of_slr = describe_corpus(compose("data=openslr_km").data, Stated(dataset="openslr"))
    assert isinstance(of_slr, Corpus)
    assert "Google" in of_slr.attribution
    assert describe_corpus(compose("data=openslr_km").data, Stated(dataset="me/other")).license is None
    for wrong, message in (
        (Stated(["French"]), r"--language French: expected a code of two or three letters \(ISO 639\), such as fr"),
        (Stated(license="CC BY"), "--license CC BY: expected an identifier of the Hugging Face hub in lower case"),
        (Stated(dataset="a b"), "--dataset a b: expected an id of the Hugging Face hub, USER/NAME"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong.check()


def test_start(compose: Any, tmp_path: Any) -> None:
    """A checkpoint of this machine is no base_model, also if it has moved; a run leads to the weights it started from."""
    assert describe_start(compose("model=xlsr_300m").model) == ("facebook/wav2vec2-xls-r-300m", "")
    for checkpoint in (tmp_path, "starts/small"):
        (base, origin) = describe_start(compose("model=xlsr_300m", f"model.checkpoint='{checkpoint}'").model)
        assert (base, origin) == (None, f"fine-tuned from the weights in {Path(checkpoint).name}")
    RunFolder(tmp_path / "first").write_config(compose("model=xlsr_300m"))
    second = compose("model=xlsr_300m", f"model.checkpoint='{tmp_path}/first'").model
    assert describe_start(second)[0] == "facebook/wav2vec2-xls-r-300m"
