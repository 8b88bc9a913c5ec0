import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from khasr.config import Config
from khasr.run.folder import RunFolder
from khasr.training.fit import fit
from khasr.training.symptoms import diagnose, symbol_entropy

Compose = Callable[..., Config]
TRAIN = {"steps": 1000, "lr_area": 0.001, "skipped_share": 0.0}
LEARNED = {"loss": 0.4, "wer": 0.3, "cer": 0.1, "blank_share": 0.8}


def symptom(
    config: Config, train: dict[str, Any] | None = None, best: dict[str, float] | None = None, **last: float
) -> str | None:
    return diagnose(config, TRAIN | (train or {}), LEARNED | last, LEARNED | last if best is None else best, 2.5)


def test_symbol_entropy() -> None:
    assert symbol_entropy(["abcd", "dcba"]) == pytest.approx(math.log(4))
    assert symbol_entropy(["aaa"]) == 0.0


def test_no_symptom(compose: Compose) -> None:
    assert symptom(compose()) is None
    assert symptom(compose(), blank_share=0.05) is None


@pytest.mark.parametrize(
    ("last", "begins"),
    [
        ({"loss": 2.6, "wer": 1.0, "blank_share": 0.999}, "All blank: at the last step 99.9% of the frames"),
        ({"loss": 2.4, "wer": 1.0, "blank_share": 0.7}, "On the plateau: the loss on val is 2.40 per symbol"),
        ({"loss": 20.0, "wer": 1.0, "blank_share": 0.2}, "Nothing learned: the loss on val is 20.00 per symbol"),
        ({"loss": 1.8, "wer": 1.0, "blank_share": 0.06}, "Blank lost: 6.0% of the frames of val are blank"),
        ({"loss": math.nan, "wer": 1.0}, "Diverged: the loss on val is nan"),
    ],
)
def test_each_symptom(compose: Compose, last: dict[str, float], begins: str) -> None:
    words = symptom(compose(), **last)
    assert words is not None
    assert words.startswith(begins)


def test_diverged_after_learning(compose: Compose) -> None:
    words = symptom(compose(), best={"loss": 0.4, "wer": 0.3}, loss=1.5, wer=0.9)
    assert words is not None
    assert "WER on val was 30% at its best and is 90% at the end" in words
    assert "Mosbach 2021" in words
    # A loss that grows while WER does not is normal for CTC with confident errors.
    assert symptom(compose(), best={"loss": 0.4, "wer": 0.3}, loss=1.5, wer=0.31) is None


@pytest.mark.parametrize(
    ("changes", "train", "advice"),
    [
        (["schedule.warmup=2000"], {}, "schedule.warmup=0.1: the warm-up of 2,000 steps takes 100% of the run's 1,000, and lr ended at 50%"),
        (["optimizer.lr=1e-6"], {}, "optimizer.lr from 2e-05 to 0.0003, the range that XLS-R's authors"),
        (["optimizer.lr=1e-2"], {}, "this run's 0.01 is above"),
        (["model=tiny", "optimizer.lr=1e-5"], {}, "optimizer.lr from 0.0005 to 0.005"),
        (["finetune.freeze_encoder_steps=0.9"], {}, "frozen for 900 of 1,000 steps"),
        ([], {"skipped_share": 0.2}, "precision=bf16: fp16 skipped 20% of the steps (speechbrain #1803"),
        ([], {}, "model.mask_time_prob=0.05 model.mask_feature_prob=0: masking delays"),
        ([], {}, "model.head_start=blank: a new head leaves the plateau sooner"),
        ([], {}, "lr summed over this run's 1,000 steps is 0.001"),
    ],
)  # fmt: skip
def test_advice(compose: Compose, changes: list[str], train: dict[str, float], advice: str) -> None:
    words = symptom(compose(*changes), train, loss=2.6, wer=1.0, blank_share=1.0)
    assert words is not None
    assert advice in words
    # The advice depends on the settings of the run.
    good = compose("schedule.warmup=0.1", "optimizer.lr=1e-4", "model.mask_time_prob=0", "model.mask_feature_prob=0",
                   "model.head_start=blank")  # fmt: skip
    other = symptom(good, {"lr_area": 0.06}, loss=2.6, wer=1.0, blank_share=1.0)
    assert other is not None
    assert advice not in other
    assert other.count("\n  - ") == 1  # more updates: always


def test_diagnosis_of_a_run(small: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = fit(small("optimizer.lr=1e-6", "schedule.warmup=60"), RunFolder(tmp_path))
    out = capsys.readouterr().out
    assert "The warm-up of 60 steps is not shorter than the run: lr ends at 10% of its peak." in out
    assert "Nothing learned" in results["trouble"]
    assert results["trouble"] in out
    for setting in ("schedule.warmup=0.1", "optimizer.lr from 0.0005", "trainer.max_epochs"):
        assert setting in results["trouble"]
