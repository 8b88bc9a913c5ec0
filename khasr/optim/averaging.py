"""Averages of weights: a running average during training, and the mean of several checkpoints."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of trained parameters, in float32 whatever their dtype; one more copy in memory.

    Attributes:
        weights: the averages by parameter name.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        """Starts from the current values.

        Args:
            decay: weight of the previous average in an update, after the first steps.
        """
        self._parameters = dict(parameters)
        self._decay = decay
        self._own: dict[str, Tensor] = {}
        self.weights = {name: p.detach().float().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Updates the averages after that many optimizer steps.

        Early in training the decay is lower, (1 + steps) / (10 + steps), so that the average forgets the initial
        weights (TensorFlow's ExponentialMovingAverage).
        """
        decay = min(self._decay, (1 + steps) / (10 + steps))
        for name, parameter in self._parameters.items():
            self.weights[name].lerp_(parameter.detach().float(), 1 - decay)

    def swap_in(self) -> None:
        """Replaces the parameters' values by the averages."""
        self._own = {name: parameter.data for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            parameter.data = self.weights[name].to(parameter.dtype)

    def swap_out(self) -> None:
        """Restores the parameters' own values."""
        for name, value in self._own.items():
            self._parameters[name].data = value
        self._own = {}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Restores averages that were saved."""
        for name, average in self.weights.items():
            average.copy_(weights[name])


def average_weights(states: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several models' weights, in their own dtypes; computed in float32, one tensor at a time."""
    mean = {}
    for name, first in states[0].items():
        total = first.float().clone()
        for state in states[1:]:
            total += state[name].float()
        mean[name] = (total / len(states)).to(first.dtype)
    return mean
