"""Range checks on options, run before torch is imported."""

import dataclasses
import math
from typing import Any

from khasr.config.limits import KEY, Limits
from khasr.config.options import Config

_FRAME_STRIDE = 320
_MOST_WEIGHTS = 1e12
_FINITE = Limits()


def check_ranges(config: Any) -> None:
    """Checks every number of a command's options against its field's limits, and options that depend on each other.

    Raises:
        ValueError: the first option out of range, with its name, value and what is expected.
    """
    _check_numbers(config, "")
    if isinstance(config, Config):
        _check_lists(config)
        _check_architecture(config)


def _check_numbers(section: Any, prefix: str) -> None:
    for field in dataclasses.fields(section):
        value, name = getattr(section, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            _check_numbers(value, f"{name}.")
            continue
        limits = field.metadata.get(KEY, _FINITE)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool) and number not in limits:
                each = "each of them " if isinstance(value, list) else ""
                raise ValueError(f"{name}={value}: expected {each}{limits}.")


def _expect(right: bool, name: str, value: object, expected: str) -> None:
    if not right:
        raise ValueError(f"{name}={value}: expected {expected}.")


def _check_lists(config: Config) -> None:
    betas, augment, devices = config.optimizer.betas, config.data.augment, config.trainer.devices
    _expect(len(betas) == 2, "optimizer.betas", betas, "two numbers from 0 to below 1")
    for name in ("noise_snr_db", "gain_db", "pause_seconds"):
        pair = getattr(augment, name)
        ordered = not pair or (len(pair) == 2 and pair[0] <= pair[1])
        _expect(ordered, f"data.augment.{name}", pair, "[lowest,highest], or [] for none")
    _expect(devices != 0, "trainer.devices", devices, "at least 1, or -1 for all GPUs")
    _expect(
        config.data.batch_seconds is None or config.data.order == "by_length",
        "data.batch_seconds",
        config.data.batch_seconds,
        "data.order=by_length with it, because its batches hold utterances of similar length",
    )


def _check_architecture(config: Config) -> None:
    shape = config.model.architecture
    _expect(
        shape.hidden_size % shape.heads == 0 and shape.hidden_size % shape.pos_conv_groups == 0,
        "model.architecture.hidden_size",
        shape.hidden_size,
        f"a multiple of heads ({shape.heads}) and of pos_conv_groups ({shape.pos_conv_groups})",
    )
    _expect(
        len(shape.conv_dim) == len(shape.conv_kernel) == len(shape.conv_stride) > 0,
        "model.architecture.conv_dim",
        shape.conv_dim,
        f"as many numbers as conv_kernel {shape.conv_kernel} and conv_stride {shape.conv_stride}",
    )
    stride = math.prod(shape.conv_stride)
    _expect(
        stride == _FRAME_STRIDE,
        "model.architecture.conv_stride",
        shape.conv_stride,
        f"a product of {_FRAME_STRIDE} samples, not {stride}",
    )
    # Attention has 4 matrices of hidden_size squared, the feed-forward part 2 of hidden_size x intermediate_size.
    weights = shape.layers * shape.hidden_size * (4 * shape.hidden_size + 2 * shape.intermediate_size)
    _expect(
        weights < _MOST_WEIGHTS,
        "model.architecture.layers",
        shape.layers,
        f"fewer than {_MOST_WEIGHTS:.0e} weights in all; these layers have {weights:.1e}",
    )
