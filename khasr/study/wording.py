"""Numbers, values and differences of WER in words."""

import math
from typing import Any

from khasr.study.statistics import Estimate


def say(value: Any) -> str:
    """A value as one writes it."""
    if value is None:
        return "unset"
    return f"{value:g}" if isinstance(value, float) else str(value)


def points(value: float) -> str:
    """WER as percent."""
    return f"{100 * value:.1f}"


def interval(estimate: Estimate) -> str:
    """A difference of WER in points, with its interval."""
    if math.isnan(estimate.low):
        return f"{100 * estimate.value:+.1f} points (no interval)"
    return f"{100 * estimate.value:+.1f} points [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def amount_of(value: float) -> str:
    """So much of an axis."""
    return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.3g}"


def value_text(value: tuple[object, ...]) -> str:
    return " & ".join(map(say, value))
