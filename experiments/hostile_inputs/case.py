"""A hostile input, and damage that several kinds of inputs have in common."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Damage = Callable[[bytes], bytes]

PREPARE = [
    "prepare", "data=folder", "data.root=FOLDER/c", "data.cache_dir=FOLDER/cache", "data.on_error=skip",
    "progress_bar=false", "hydra.run.dir=FOLDER/out",
]  # fmt: skip
# The same, without composing the options.
READ = ["read", *PREPARE[1:]]

# A YAML file whose aliases expand to 9^9 values.
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(9 * [f'*{a}'])}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@dataclass
class Case:
    """One hostile input.

    Attributes:
        kind: audio, table, ...
        name: what was damaged, and how.
        command: of khasr, its arguments; FOLDER stands for the case's own folder and GOOD for that of good inputs.
        make: writes the input into the case's folder.
        seconds: the least audio that the bad recording must give unless it is reported.
        records: of a table: each must be used or counted.
        same: the evaluation must give the good run's error rate unless something is reported.
    """

    kind: str
    name: str
    command: list[str]
    make: Callable[[Path], object]
    seconds: float | None = None
    records: int | None = None
    same: bool = False


def flip(rng: random.Random, first: int, last: int, count: int) -> Damage:
    """Inverts random bits of bytes of a range."""

    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(count):
            changed[rng.randrange(first, min(last, len(data)))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return damage
