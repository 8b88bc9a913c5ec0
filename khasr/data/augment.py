"""Random changes of training waveforms: speed, noise, pauses, gain, joining."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from khasr.config import AugmentConfig
from khasr.data.audio import SAMPLE_RATE, standardise

# Range of a pause's noise level relative to the utterance's, in dB: from a noisy room to below 16-bit resolution.
_PAUSE_DB = (-60.0, -20.0)


@functools.lru_cache(maxsize=16)
def _speed(factor: float) -> torchaudio.transforms.Speed:
    return torchaudio.transforms.Speed(SAMPLE_RATE, factor)


def augment(
    waveform: NDArray[np.float32], options: AugmentConfig, generator: np.random.Generator
) -> NDArray[np.float32]:
    """The waveform with speed, noise and pauses changed at random; (samples,) in, (another number of samples,) out.

    A change of speed also changes pitch (Ko 2015). Noise is white; its level and that of the pauses are uniform in dB.
    Each end has a pause with probability 1/2, because speech may also start immediately.
    """
    if options.speed:
        factor = float(generator.choice(options.speed))
        if factor != 1.0:
            waveform = _speed(factor)(torch.from_numpy(waveform))[0].numpy()
    if options.noise_snr_db:
        ratio = generator.uniform(options.noise_snr_db[0], options.noise_snr_db[1])
        waveform = waveform + _noise(waveform, -ratio, len(waveform), generator)
    if options.pause_seconds:
        seconds = generator.uniform(options.pause_seconds[0], options.pause_seconds[1], 2) * generator.integers(0, 2, 2)
        before, after = (
            _noise(waveform, generator.uniform(*_PAUSE_DB), round(s * SAMPLE_RATE), generator) for s in seconds
        )
        waveform = np.concatenate([before, waveform, after])
    return waveform


def _noise(
    waveform: NDArray[np.float32], decibels: float, samples: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """White noise at `decibels` relative to the waveform's level; (samples,)."""
    level = np.sqrt(np.mean(waveform**2)) * 10 ** (decibels / 20)
    return np.float32(level) * generator.standard_normal(samples, dtype=np.float32)


def amplify(
    waveform: NDArray[np.float32], options: AugmentConfig, generator: np.random.Generator
) -> NDArray[np.float32]:
    """The waveform with a random gain, uniform in dB; apply it after standardising, which would remove it."""
    if not options.gain_db:
        return waveform
    decibels = generator.uniform(options.gain_db[0], options.gain_db[1])
    return waveform * np.float32(10 ** (decibels / 20))


def join(waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """One standardised waveform of several, concatenated without pauses (`augment` adds those).

    It resembles a chunk of a long recording: several sentences whose levels differ within one standardised waveform.
    """
    return standardise(np.concatenate(waveforms))
