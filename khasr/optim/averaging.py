"""Weights averaged over a run."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The running average of trained parameters: float32 whatever theirs is, one more copy of them in memory.

    Attributes:
        weights: the averages, by the parameters' names.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        """Starts as the parameters are.

        Args:
            decay: what a step leaves of the average before it, once the run is old enough.
        """
        self._parameters = dict(parameters)
        self._decay = decay
        self._own: dict[str, Tensor] = {}
        self.weights = {name: p.detach().float().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Takes the parameters in, after that many optimizer steps.

        Early on the average is shorter, (1 + steps) / (10 + steps), so that it forgets where it began (TensorFlow's
        ExponentialMovingAverage).
        """
        decay = min(self._decay, (1 + steps) / (10 + steps))
        for name, parameter in self._parameters.items():
            self.weights[name].lerp_(parameter.detach().float(), 1 - decay)

    def put_in(self) -> None:
        """Puts the averages in the parameters' place."""
        self._own = {name: parameter.data for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            parameter.data = self.weights[name].to(parameter.dtype)

    def take_out(self) -> None:
        """Puts the parameters' own values back."""
        for name, value in self._own.items():
            self._parameters[name].data = value
        self._own = {}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes averages up again."""
        for name, average in self.weights.items():
            average.copy_(weights[name])


def average_weights(states: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several models' weights, in their own types; computed in float32, one tensor at a time."""
    mean = {}
    for name, first in states[0].items():
        total = first.float().clone()
        for state in states[1:]:
            total += state[name].float()
        mean[name] = (total / len(states)).to(first.dtype)
    return mean
