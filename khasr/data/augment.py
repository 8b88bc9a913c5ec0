"""What is changed at random in a training waveform."""

import functools

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from khasr.config import AugmentConfig
from khasr.data.audio import SAMPLE_RATE


@functools.lru_cache(maxsize=16)
def _speed(factor: float) -> torchaudio.transforms.Speed:
    return torchaudio.transforms.Speed(SAMPLE_RATE, factor)


def augment(
    waveform: NDArray[np.float32], options: AugmentConfig, generator: np.random.Generator
) -> NDArray[np.float32]:
    """The waveform at another speed and with noise, as the options have it; (samples,) in, another length out.

    Speed is changed as a tape's is, pitch and all (Ko 2015). Noise is white, its level drawn evenly in dB.
    """
    if options.speed:
        factor = float(generator.choice(options.speed))
        if factor != 1.0:
            waveform = _speed(factor)(torch.from_numpy(waveform))[0].numpy()
    if options.noise_snr_db:
        ratio = 10 ** (generator.uniform(options.noise_snr_db[0], options.noise_snr_db[1]) / 20)
        level = np.sqrt(np.mean(waveform**2)) / ratio
        waveform = waveform + level * generator.standard_normal(len(waveform), dtype=np.float32)
    return waveform


def amplify(
    waveform: NDArray[np.float32], options: AugmentConfig, generator: np.random.Generator
) -> NDArray[np.float32]:
    """The waveform louder or softer, drawn evenly in dB; for one that is standardised, which would undo it."""
    if not options.gain_db:
        return waveform
    decibels = generator.uniform(options.gain_db[0], options.gain_db[1])
    return waveform * np.float32(10 ** (decibels / 20))
