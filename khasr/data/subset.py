"""A part of the training data by hours (data.train_hours), for curves of WER against hours."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spoken:
    """What the choice of a subset depends on: an utterance's id, speaker and duration."""

    id: str
    speaker: str
    seconds: float


def nested_subset(utterances: Sequence[Spoken], hours: float, seed: int) -> set[str]:
    """The ids of whole utterances of at most that many hours; with one seed, a smaller subset is within a larger one.

    Utterances are put in an order of which a subset is a beginning. Each speaker's utterances are shuffled and spread
    evenly over the order, so that any subset has about the same share of each speaker's audio.

    Raises:
        ValueError: more hours than there are, or less than the first utterance.
    """
    total = sum(u.seconds for u in utterances) / 3600
    if hours > total:
        raise ValueError(
            f"data.train_hours={hours:g}: the training part has {_floor(total)} h ({len(utterances):,} utterances). "
            "Expected at most that; unset, the whole part is used."
        )
    chosen: set[str] = set()
    left = hours * 3600
    ordered = _spread(utterances, random.Random(seed))
    for utterance in ordered:
        if utterance.seconds > left:
            break
        chosen.add(utterance.id)
        left -= utterance.seconds
    if not chosen:
        raise ValueError(
            f"data.train_hours={hours:g} is {hours * 3600:.3g} s, less than the first utterance that seed {seed} "
            f"selects ({ordered[0].id}, {ordered[0].seconds:.1f} s). Expected more hours."
        )
    return chosen


def _spread(utterances: Sequence[Spoken], rng: random.Random) -> list[Spoken]:
    """All utterances, with each speaker's in random order and evenly spread by their audio."""
    speakers: dict[str, list[Spoken]] = {}
    for utterance in sorted(utterances, key=lambda u: u.id):  # not the order of the corpus's listing
        speakers.setdefault(utterance.speaker, []).append(utterance)
    placed = []
    for name in sorted(speakers):
        members = speakers[name]
        rng.shuffle(members)
        total = sum(u.seconds for u in members)
        before = 0.0
        for utterance in members:
            # At random within its own share, so that speakers with few utterances are not all in the middle.
            placed.append(((before + rng.random() * utterance.seconds) / total, utterance))
            before += utterance.seconds
    return [utterance for _, utterance in sorted(placed, key=lambda pair: (pair[0], pair[1].id))]


def _floor(hours: float) -> str:
    """Hours with four digits, rounded down, so that the number itself is accepted."""
    digits = f"{hours:.3e}"
    value = float(digits)
    if value > hours:
        value -= 10.0 ** (int(digits.split("e")[1]) - 3)
    return f"{value:.4g}"
