"""Numbers, values and differences of WER as text."""

import math
from collections.abc import Sequence
from typing import Any

from khasr.study.statistics import Estimate


def say(value: Any) -> str:
    """A value of an option as text."""
    if value is None:
        return "unset"
    return f"{value:g}" if isinstance(value, float) else str(value)


def points(value: float) -> str:
    """A WER in percent, without the sign."""
    return f"{100 * value:.1f}"


def interval(estimate: Estimate) -> str:
    """A difference of WER in points, with its interval."""
    if math.isnan(estimate.low):
        return f"{100 * estimate.value:+.1f} points (no interval)"
    return f"{100 * estimate.value:+.1f} points [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def amount_of(value: float) -> str:
    """A number with few digits."""
    return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.3g}"


def value_text(value: tuple[object, ...]) -> str:
    """The values of a setting of one or several options."""
    return " & ".join(map(say, value))


def joined(items: Sequence[str]) -> str:
    """The items with commas and `and`."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
