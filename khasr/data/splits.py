"""Train, val and test: three parts that share no utterance."""

import math
import random
from collections.abc import Sequence

from khasr.config import DataConfig

PARTS = ("train", "val", "test")


def split(ids: Sequence[str], options: DataConfig) -> dict[str, list[str]]:
    """The ids of each part, in the corpus's order; the same for the same ids and `data.split_seed`.

    `random` is the card's: test first, a share of all, then val, a share of what is left, both rounded up, which gives
    2,353 / 262 / 291 of OpenSLR 42's 2,906.

    Raises:
        ValueError: too few utterances for three parts, or shares that leave none.
    """
    shares = f"data.test_share={options.test_share} data.val_share={options.val_share}"
    if not (0 < options.test_share < 1 and 0 < options.val_share < 1):
        raise ValueError(f"{shares}: a share lies between 0 and 1, both excluded.")
    test = math.ceil(options.test_share * len(ids))
    val = math.ceil(options.val_share * (len(ids) - test))
    if len(ids) - test - val < 1 or val < 1:
        raise ValueError(f"{len(ids)} utterances are too few for train, val and test with {shares}.")
    # By id, so that the order in which a corpus is listed does not matter.
    shuffled = sorted(ids)
    random.Random(options.split_seed).shuffle(shuffled)
    part_of = dict.fromkeys(shuffled[:test], "test") | dict.fromkeys(shuffled[test : test + val], "val")
    return {part: [id_ for id_ in ids if part_of.get(id_, "train") == part] for part in PARTS}
