import numpy as np
import pytest

from khasr.data.audio import SAMPLE_RATE, Resampler, standardise
from khasr.data.audio_file import record


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_resample_tone(rate: int) -> None:
    """A tone keeps its pitch, level and length."""
    times = np.arange(rate) / rate
    wave = Resampler(rate).convert((0.5 * np.sin(2 * np.pi * 1000 * times)).astype(np.float32), last=True)
    assert len(wave) == SAMPLE_RATE
    spectrum = np.abs(np.fft.rfft(wave[1000:-1000] / 32768))
    peak = np.argmax(spectrum) * SAMPLE_RATE / (len(wave) - 2000)
    assert peak == pytest.approx(1000, abs=1.5)
    assert np.abs(wave[1000:-1000]).max() / 32768 == pytest.approx(0.5, abs=0.01)


def test_no_aliasing() -> None:
    """Frequencies above 8 kHz are removed, not aliased."""
    times = np.arange(48_000) / 48_000
    wave = Resampler(48_000).convert((0.5 * np.sin(2 * np.pi * 12_000 * times)).astype(np.float32), last=True)
    assert np.abs(wave[100:-100]).max() / 32768 < 0.01


def test_downmix() -> None:
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1).astype(np.float32)
    assert np.allclose(Resampler(SAMPLE_RATE).convert(stereo, last=True) / 32768, 0.125)


@pytest.mark.parametrize(("samples", "reason"), [([], "no samples"), ([0.1, np.nan], "not finite")])
def test_bad_samples(samples: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        record([(np.array(samples, dtype=np.float32), SAMPLE_RATE)])


def test_clip() -> None:
    """Samples beyond full scale are clipped and do not wrap around."""
    samples = np.array([1.0, -1.0, 1.5], dtype=np.float32)
    assert Resampler(SAMPLE_RATE).convert(samples, last=True).tolist() == [32767, -32768, 32767]


def test_standardise() -> None:
    """Mean 0 and variance 1; silence stays finite."""
    wave = standardise(np.random.default_rng(0).normal(3, 7, 5000).astype(np.float32))
    assert wave.mean() == pytest.approx(0, abs=1e-5)
    assert wave.var() == pytest.approx(1, abs=1e-4)
    assert np.isfinite(standardise(np.zeros(10, dtype=np.float32))).all()
