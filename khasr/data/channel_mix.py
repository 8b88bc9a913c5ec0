"""Channels of opposite polarity, which cancel to silence when they are mixed to one."""

import numpy as np
from numpy.typing import NDArray

# Channels whose mix keeps less than this share of what unrelated channels keep (3 dB for two) are of opposite polarity;
# below 0.001 of full scale nothing is audible.
_CANCELLED, _AUDIBLE = 0.1, 1e-3


class CancellingChannelsError(ValueError):
    """The channels cancel when they are mixed; raised after everything was decoded."""


class ChannelMix:
    """Compares the energy of the mean of the channels with that of the channels, block by block."""

    def __init__(self) -> None:
        self._mixed = self._apart = 0.0
        self._samples, self._channels = 0, 1

    def measure(self, samples: NDArray[np.float32]) -> None:
        """Adds a block of (samples,) or (samples, channels)."""
        if samples.ndim == 2 and samples.shape[1] > 1:
            self._channels = samples.shape[1]
            self._samples += len(samples)
            self._mixed += float(np.square(samples.mean(axis=1, dtype=np.float32)).sum(dtype=np.float64))
            self._apart += float(np.square(samples).sum(dtype=np.float64)) / self._channels

    @property
    def cancels(self) -> bool:
        """Whether almost nothing of audible channels is left in their mean."""
        # Channels without any relation keep 1 / channels of their energy.
        audible = self._apart > self._samples * _AUDIBLE**2
        return audible and self._mixed < _CANCELLED / self._channels * self._apart

    def describe(self) -> str:
        """The message for audio that cancels."""
        lost = f"{10 * np.log10(self._apart / self._mixed):.0f} dB of it" if self._mixed else "all of it"
        return (
            f"its {self._channels} channels cancel when they are mixed to one, and {lost} would be lost: one of them "
            "has the opposite polarity. `ffmpeg -i FILE -af pan='mono|c0=c0' NEW.wav` or `sox FILE NEW.wav remix 1` "
            "keeps the first channel"
        )
