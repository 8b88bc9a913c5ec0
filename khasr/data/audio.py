"""Waveforms: any file's audio as khasr's models hear it, mono at 16 kHz."""

import numpy as np
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz, of every waveform inside khasr."""

FRAME_STRIDE = 320
"""Samples from one encoder frame to the next: the product of the feature encoder's strides."""

FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_STRIDE


def to_16k(samples: NDArray[np.float32], rate: int) -> NDArray[np.int16]:
    """Mono 16-bit audio at 16 kHz: channels averaged, resampled by soxr (its high quality).

    Args:
        samples: (samples,) or (samples, channels), full scale at ±1.
        rate: of the samples, in Hz.

    Raises:
        ValueError: no samples, or samples that are not finite.
    """
    mono = samples.mean(axis=1, dtype=np.float32) if samples.ndim == 2 else samples
    if len(mono) == 0:
        raise ValueError("it has no samples")
    if not np.isfinite(mono).all():
        raise ValueError("it has samples that are not finite")
    if not 1000 <= rate <= 768_000:
        raise ValueError(f"its rate is {rate} Hz")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    pcm: NDArray[np.int16] = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
    return pcm


def standardise(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """The waveform with mean 0 and variance 1, as XLS-R was pretrained; (samples,) in and out."""
    centred = waveform - waveform.mean()
    # 1e-7 as in transformers' Wav2Vec2FeatureExtractor: silence stays finite.
    scaled: NDArray[np.float32] = centred / np.sqrt(centred.var() + 1e-7)
    return scaled
