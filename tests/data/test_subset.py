"""data.train_hours: nested parts of the training data."""

import random
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.config import Config
from khasr.data.datamodule import CorpusDataModule, read_parts
from khasr.data.subset import Spoken, nested_subset

# Three speakers with very different amounts of audio, and a hundred with one utterance each.
UTTERANCES = [
    Spoken(f"{speaker}/{i:04d}", speaker, random.Random(f"{speaker}{i}").uniform(1, 12))
    for speaker, count in (("a", 600), ("b", 200), ("c", 50), *((f"single{n}", 1) for n in range(100)))
    for i in range(count)
]
TOTAL = sum(u.seconds for u in UTTERANCES)


def seconds(ids: set[str]) -> float:
    return sum(u.seconds for u in UTTERANCES if u.id in ids)


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 99))
def test_nested(one: float, other: float, seed: int) -> None:
    """A smaller subset is within a larger one of the same seed, is not longer than asked, and at most one shorter."""
    small, large = (nested_subset(UTTERANCES, x * TOTAL / 3600, seed) for x in sorted([one, other]))
    assert small <= large
    for share, ids in zip(sorted([one, other]), (small, large), strict=True):
        assert share * TOTAL - 12 <= seconds(ids) <= share * TOTAL + 1e-6


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_spread_over_speakers(share: float) -> None:
    """Each speaker gives about the same share of the audio, also those with one utterance together."""
    chosen = nested_subset(UTTERANCES, share * TOTAL / 3600, seed=1)
    there, all_ = Counter[str](), Counter[str]()
    for u in UTTERANCES:
        all_[u.speaker[:6]] += u.seconds  # type: ignore[assignment]
        there[u.speaker[:6]] += u.seconds * (u.id in chosen)  # type: ignore[assignment]
    for speaker, total in all_.items():
        assert there[speaker] / total == pytest.approx(share, abs=0.12 if speaker == "single" else 0.05), speaker


def test_seeds_and_order() -> None:
    hours = 0.2 * TOTAL / 3600
    first = nested_subset(UTTERANCES, hours, 1)
    assert nested_subset(random.Random(0).sample(UTTERANCES, len(UTTERANCES)), hours, 1) == first
    assert nested_subset(UTTERANCES, hours, 2) != first


def test_refused() -> None:
    with pytest.raises(
        ValueError, match=r"data\.train_hours=9: the training part has .* h \(950 utterances\)"
    ) as error:
        nested_subset(UTTERANCES, 9, 0)
    there = float(re.findall(r"has ([\d.]+) h", str(error.value))[0])
    assert len(nested_subset(UTTERANCES, there, 0)) >= 949, "the number of the message is accepted"
    assert len(nested_subset(UTTERANCES, TOTAL / 3600, 0)) >= 949
    with pytest.raises(ValueError, match=r"data\.train_hours=1e-06 is 0\.0036 s, less than the first utterance"):
        nested_subset(UTTERANCES, 1e-6, 0)


def test_of_a_run(small: Callable[..., Config]) -> None:
    """Train is shortened, val and test are not, the rest is counted; the seed of the run is kept for later readers."""
    config = small("data.train_hours=0.003", "seed=7")
    assert config.data.subset_seed == 7
    data = CorpusDataModule(config.data, config.seed)
    data.prepare(False)
    whole = read_parts(small().data, 0)
    assert 0.0025 < data.parts["train"].hours <= 0.003 < whole["train"].hours
    assert [list(data.parts[p].audio["id"]) for p in ("val", "test")] == [
        list(whole[p].audio["id"]) for p in ("val", "test")
    ]
    assert len(data.faults) == len(whole["train"]) - len(data.parts["train"])
    assert {fault.reason for fault in data.faults} == {"beyond data.train_hours=0.003"}
    again = read_parts(config.data, seed=0)["train"]
    assert list(again.audio["id"]) == list(data.parts["train"].audio["id"])
