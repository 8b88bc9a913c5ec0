"""The range of a numeric option, kept as metadata of its dataclass field."""

import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
KEY = "limits"


@dataclass(frozen=True)
class Limits:
    """The finite numbers from `least` to `most` that are also greater than `above` and less than `below`."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        ends = [
            f"{words} {end:g}"
            for words, end in (
                ("at least", self.least),
                ("above", self.above),
                ("at most", self.most),
                ("below", self.below),
            )
            if math.isfinite(end)
        ]
        return f"a number {' and '.join(ends)}" if ends else "a finite number"


def limits(
    least: float = -math.inf, most: float = math.inf, above: float = -math.inf, below: float = math.inf
) -> dict[str, Limits]:
    """Metadata for a field; for a list, the limits apply to each element."""
    return {KEY: Limits(least, most, above, below)}


def limited(
    default: T, least: float = -math.inf, most: float = math.inf, above: float = -math.inf, below: float = math.inf
) -> T:
    """A dataclass field with this default and these limits; None is allowed if the type includes it."""
    made: Any = field(default=default, metadata=limits(least, most, above, below))
    return made  # type: ignore[no-any-return]


def share(default: T) -> T:
    """A dataclass field that holds a share, a probability or a dropout: 0 to 1."""
    return limited(default, 0, 1)
