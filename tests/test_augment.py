import numpy as np
import pytest

from khasr.config import AugmentConfig
from khasr.data.augment import augment

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
