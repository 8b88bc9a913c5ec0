import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.config import DataConfig
from khasr.data.splits import split

IDS = [f"khm_{i % 16:04d}_{i:010d}" for i in range(2906)]


def test_openslr_42_is_parted_as_the_card_s() -> None:
    parts = split(IDS, DataConfig())
    assert {part: len(ids) for part, ids in parts.items()} == {"train": 2353, "val": 262, "test": 291}


@given(st.integers(10, 400), st.integers(0, 99))
def test_each_utterance_is_in_one_part_in_the_corpus_s_order(count: int, seed: int) -> None:
    ids = IDS[:count]
    parts = split(ids, DataConfig(split_seed=seed))
    assert sorted(sum(parts.values(), [])) == sorted(ids)
    assert all(part == sorted(part, key=ids.index) and part for part in parts.values())


def test_the_split_depends_on_its_seed_and_not_on_the_order_of_the_listing() -> None:
    shuffled = random.Random(1).sample(IDS, len(IDS))
    first, again = split(IDS, DataConfig()), split(shuffled, DataConfig())
    assert {part: set(ids) for part, ids in first.items()} == {part: set(ids) for part, ids in again.items()}
    assert set(split(IDS, DataConfig(split_seed=1))["test"]) != set(first["test"])


@pytest.mark.parametrize("options", [{"test_share": 0.0}, {"val_share": 1.0}, {"test_share": 0.5, "val_share": 0.9}])
def test_parts_that_would_be_empty_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"data\.test_share"):
        split(IDS[:5], DataConfig(**options))  # type: ignore[arg-type]
