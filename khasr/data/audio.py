"""Waveforms: samples of any rate and number of channels as khasr's models take them, mono at 16 kHz."""

import numpy as np
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz, of every waveform inside khasr."""

FRAME_STRIDE = 320
"""Samples from one encoder frame to the next: the product of the feature encoder's strides."""

FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_STRIDE


class Resampler:
    """Converts audio to 16-bit mono at 16 kHz in blocks: channels averaged, resampled by soxr at high quality.

    The blocks together equal the conversion of the whole.
    """

    def __init__(self, rate: int) -> None:
        """A converter for audio of `rate` Hz.

        Raises:
            ValueError: the rate is below 1 kHz or above 768 kHz.
        """
        if not 1000 <= rate <= 768_000:
            raise ValueError(f"its sample rate is {rate} Hz; expected 1,000 to 768,000 Hz")
        self._stream = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")

    def convert(self, samples: NDArray[np.float32], last: bool = False) -> NDArray[np.int16]:
        """The next block at 16 kHz; it may be shorter or longer than `samples` lasts, until the last one.

        Args:
            samples: (samples,) or (samples, channels), full scale at ±1.

        Raises:
            ValueError: samples that are not finite.
        """
        mono = samples.mean(axis=1, dtype=np.float32) if samples.ndim == 2 else samples
        if not np.isfinite(mono).all():
            raise ValueError("it has samples that are not finite")
        if self._stream is not None:
            mono = self._stream.resample_chunk(mono, last)
        pcm: NDArray[np.int16] = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
        return pcm


def standardise(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """The waveform with mean 0 and variance 1, as in XLS-R's pretraining; (samples,) in and out."""
    centred = waveform - waveform.mean()
    # 1e-7 as in transformers' Wav2Vec2FeatureExtractor: silence stays finite.
    scaled: NDArray[np.float32] = centred / np.sqrt(centred.var() + 1e-7)
    return scaled
