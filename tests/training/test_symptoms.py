import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from khasr.config import Config
from khasr.run.folder import RunFolder
from khasr.training.fit import fit
from khasr.training.symptoms import symbol_entropy, what_went_wrong

Compose = Callable[..., Config]
TRAIN = {"steps": 1000, "lr_area": 0.001, "skipped_share": 0.0}
LEARNED = {"loss": 0.4, "wer": 0.3, "cer": 0.1, "blank_share": 0.8}


def told(
    config: Config, train: dict[str, Any] | None = None, best: dict[str, float] | None = None, **last: float
) -> str | None:
    return what_went_wrong(config, TRAIN | (train or {}), LEARNED | last, LEARNED | last if best is None else best, 2.5)


def test_entropy_is_of_the_symbols() -> None:
    assert symbol_entropy(["abcd", "dcba"]) == pytest.approx(math.log(4))
    assert symbol_entropy(["aaa"]) == 0.0


def test_a_run_that_learned_is_told_nothing(compose: Compose) -> None:
    assert told(compose()) is None


@pytest.mark.parametrize(
    ("last", "begins"),
    [
        ({"loss": 2.6, "wer": 1.0, "blank_share": 0.999}, "All blank: at the last step 99.9% of the frames"),
        ({"loss": 2.4, "wer": 1.0, "blank_share": 0.7}, "On the plateau: the loss on val is 2.40 a symbol"),
        ({"loss": 20.0, "wer": 1.0, "blank_share": 0.2}, "Nothing learned: the loss on val is 20.00 a symbol"),
        ({"loss": math.nan, "wer": 1.0}, "Diverged: the loss on val is nan"),
    ],
)
def test_each_way_to_fail_has_its_words(compose: Compose, last: dict[str, float], begins: str) -> None:
    words = told(compose(), **last)
    assert words is not None
    assert words.startswith(begins)


def test_getting_worse_again_is_told_with_both_numbers(compose: Compose) -> None:
    words = told(compose(), best={"loss": 0.4, "wer": 0.3}, loss=1.5, wer=0.9)
    assert words is not None
    assert "WER on val was 30% at its best and is 90% at the end" in words
    assert "Mosbach 2021" in words
    # A loss that grows while WER does not is what CTC does when it is sure of itself.
    assert told(compose(), best={"loss": 0.4, "wer": 0.3}, loss=1.5, wer=0.31) is None


@pytest.mark.parametrize(
    ("changes", "train", "advice"),
    [
        (["schedule.warmup=2000"], {}, "schedule.warmup=0.1: the warm-up of 2,000 steps takes 100% of the run's 1,000, and lr ended at 50%"),
        (["optimizer.lr=1e-6"], {}, "optimizer.lr from 2e-05 to 0.0003, where XLS-R's authors"),
        (["optimizer.lr=1e-2"], {}, "this run's 0.01 is above"),
        (["model=tiny", "optimizer.lr=1e-5"], {}, "optimizer.lr from 0.0005 to 0.005"),
        (["finetune.freeze_encoder_steps=0.9"], {}, "frozen for 900 of 1,000 steps"),
        ([], {"skipped_share": 0.2}, "precision=bf16: fp16 left out 20% of the steps (speechbrain #1803"),
        ([], {}, "model.mask_time_prob=0.05 model.mask_feature_prob=0: masks delay"),
        ([], {}, "lr summed over this run's 1,000 steps is 0.001"),
    ],
)  # fmt: skip
def test_the_advice_is_of_the_run_s_own_settings(
    compose: Compose, changes: list[str], train: dict[str, float], advice: str
) -> None:
    words = told(compose(*changes), train, loss=2.6, wer=1.0, blank_share=1.0)
    assert words is not None
    assert advice in words
    # And is given where they speak for it alone.
    good = compose("schedule.warmup=0.1", "optimizer.lr=1e-4", "model.mask_time_prob=0", "model.mask_feature_prob=0")
    other = told(good, {"lr_area": 0.06}, loss=2.6, wer=1.0, blank_share=1.0)
    assert other is not None
    assert advice not in other
    assert other.count("\n  - ") == 1  # more updates: always


def test_a_run_that_fails_says_so_at_its_start_at_its_end_and_in_its_results(
    small: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = fit(small("optimizer.lr=1e-6", "schedule.warmup=60"), RunFolder(tmp_path))
    out = capsys.readouterr().out
    assert "The warm-up of 60 steps is not shorter than the run: lr ends at 10% of its peak." in out
    assert "Nothing learned" in results["trouble"]
    assert results["trouble"] in out
    for setting in ("schedule.warmup=0.1", "optimizer.lr from 0.0005", "trainer.max_epochs"):
        assert setting in results["trouble"]
