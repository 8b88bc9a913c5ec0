"""What is changed at random in a training waveform."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from khasr.config import AugmentConfig
from khasr.data.audio import SAMPLE_RATE, standardise

# Level of a pause's noise against the utterance's, in dB: from a noisy room's to below what 16 bits can tell.
_PAUSE_DB = (-60.0, -20.0)


@functools.lru_cache(maxsize=16)
def _speed(factor: float) -> torchaudio.transforms.Speed:
    return torchaudio.transforms.Speed(SAMPLE_RATE, factor)


def augment(
    waveform: NDArray[np.float32], options: AugmentConfig, generator: np.random.Generator
) -> NDArray[np.float32]:
    """The waveform at another speed, with noise and with pauses, as the options have it; (samples,), of any length out.

    Speed is changed as a tape's is, pitch and all (Ko 2015). Noise is white, its level drawn evenly in dB, and so is
    that of the pauses. One end in two has no pause: speech may begin at once.
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
    """White noise so many dB above the waveform's level."""
    level = np.sqrt(np.mean(waveform**2)) * 10 ** (decibels / 20)
    return np.float32(level) * generator.standard_normal(samples, dtype=np.float32)


def amplify(
    waveform: NDArray[np.float32], options: AugmentConfig, generator: np.random.Generator
) -> NDArray[np.float32]:
    """The waveform louder or softer, drawn evenly in dB; for one that is standardised, which would undo it."""
    if not options.gain_db:
        return waveform
    decibels = generator.uniform(options.gain_db[0], options.gain_db[1])
    return waveform * np.float32(10 ** (decibels / 20))


def join(waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """One standardised waveform of several, one after another as they are; pauses are for `augment` to put.

    What a model hears in a chunk of a long recording: neighbours, and levels that differ within what is standardised.
    """
    return standardise(np.concatenate(waveforms))
