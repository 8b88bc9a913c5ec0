from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from khasr.config import AugmentConfig, Config
from khasr.data.audio import standardise
from khasr.data.augment import amplify, augment
from khasr.data.datamodule import CorpusDataModule, PartDataset

TONE = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)


def test_nothing_is_changed_by_default() -> None:
    assert augment(TONE, AugmentConfig(), np.random.default_rng(0)) is TONE


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_length_and_pitch_together(factor: float) -> None:
    faster = augment(TONE, AugmentConfig(speed=[factor]), np.random.default_rng(0))
    assert len(faster) == pytest.approx(16_000 / factor, abs=2)
    peak = np.argmax(np.abs(np.fft.rfft(faster))) * 16_000 / len(faster)
    assert peak == pytest.approx(440 * factor, abs=2)


def test_noise_has_the_ratio_asked_for() -> None:
    noisy = augment(TONE, AugmentConfig(noise_snr_db=[10, 10]), np.random.default_rng(0))
    ratio = 10 * np.log10(np.mean(TONE**2) / np.mean((noisy - TONE) ** 2))
    assert ratio == pytest.approx(10, abs=0.3)


def test_the_same_generator_draws_the_same() -> None:
    options = AugmentConfig(speed=[0.9, 1.0, 1.1], noise_snr_db=[5, 30])
    drawn = [augment(TONE, options, np.random.default_rng(s)) for s in (3, 3, 4)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_gain_is_drawn_in_decibels_and_outlives_standardising() -> None:
    generator = np.random.default_rng(0)
    options = AugmentConfig(gain_db=[-12, 6])
    drawn = [20 * np.log10(np.std(amplify(standardise(TONE), options, generator))) for _ in range(300)]
    assert -12 <= min(drawn) < -11
    assert 5 < max(drawn) <= 6
    assert np.mean(drawn) == pytest.approx(-3, abs=1)
    assert amplify(TONE, options, generator).dtype == np.float32
    assert amplify(TONE, AugmentConfig(), generator) is TONE


def test_gain_reaches_training_and_leaves_val_alone(compose: Callable[..., Config], corpus: Path) -> None:
    config = compose(
        "experiment=quickstart",
        "data=folder",
        f"data.root='{corpus}'",
        "data.augment.speed=[]",
        "data.augment.gain_db=[6,6]",
    )
    data = CorpusDataModule(config.data, seed=1)
    data.prepare(progress=False)
    levels = [
        PartDataset(data.parts["train"], data.vocabulary, config.data, seed)[(0, 0)].waveform.std()
        for seed in (1, None)
    ]
    assert levels[0].item() == pytest.approx(10 ** (6 / 20), rel=1e-3)
    assert levels[1].item() == pytest.approx(1, rel=1e-3)
