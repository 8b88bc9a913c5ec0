import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from khasr.data.batching import Example, TrainingLoader, TrainingOrder, collate, evaluation_batches
from khasr.run.published import CARD_CURVE

LENGTHS = np.random.default_rng(0).integers(8_000, 160_000, 103).tolist()


def order(**changes: object) -> TrainingOrder:
    options: dict[str, object] = {"batch_size": 4, "by_length": True, "seed": 1} | changes
    return TrainingOrder(LENGTHS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("by_length", [True, False])
def test_epoch(by_length: bool) -> None:
    """Each utterance once per epoch, in an order that depends on the epoch and the seed."""
    epochs = [order(by_length=by_length).epoch(e) for e in (0, 1)]
    assert sorted(itertools.chain(*epochs[0])) == list(range(len(LENGTHS)))
    assert epochs[0] != epochs[1]
    assert epochs[0] == order(by_length=by_length).epoch(0)
    assert epochs[0] != order(by_length=by_length, seed=2).epoch(0)


def test_padding_by_length() -> None:
    def padding(by_length: bool) -> float:
        batches = order(by_length=by_length).epoch(0)
        padded = sum(len(b) * max(LENGTHS[i] for i in b) for b in batches)
        return 1 - sum(LENGTHS) / padded

    assert padding(True) < 0.04 < 0.2 < padding(False)


@given(st.integers(0, 70), st.integers(1, 3))
def test_resume(position: int, accumulate: int) -> None:
    """From a position, the order continues as an uninterrupted run."""
    whole, rest = order(accumulate=accumulate), order(accumulate=accumulate)
    for o in (whole, rest):
        o.set_steps(24)
    rest.position = position
    assert list(rest) == list(whole)[position:]
    assert len(rest) == len(whole) == 24 * accumulate


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks(ranks: int) -> None:
    epochs = [order(rank=rank, ranks=ranks, accumulate=2).epoch(0) for rank in range(ranks)]
    assert len({len(epoch) for epoch in epochs}) == 1
    assert len(epochs[0]) % 2 == 0
    seen = list(itertools.chain(*itertools.chain(*epochs)))
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("size", [{"batch_size": 4}, {"batch_size": 4, "batch_samples": 400_000}])
def test_like_lengths_on_all_ranks(size: dict[str, int]) -> None:
    """The ranks compute nearly the same number of samples at the same time, whatever the lengths."""
    lengths = (16_000 * np.random.default_rng(0).lognormal(1.5, 0.5, 2353).clip(1, 25)).astype(int)
    orders = [TrainingOrder(lengths.tolist(), by_length=True, seed=1, rank=r, ranks=8, **size) for r in range(8)]  # type: ignore[arg-type]
    batches = [o.epoch(0) for o in orders]
    costs = np.array([[lengths[b].max() * len(b) for b in mine] for mine in batches])
    assert costs.max(axis=0).sum() < 1.1 * costs.mean(axis=0).sum()
    # The groups of batches are shuffled, and none is dropped in every epoch.
    longest = [max(lengths[b].max() for b in at) for at in zip(*batches, strict=True)]
    assert longest != sorted(longest, reverse=True)
    seen = {i for o in orders for e in range(6) for b in o.epoch(e) for i in b}
    assert seen == set(range(len(lengths)))


def test_card_steps_per_epoch() -> None:
    card = TrainingOrder([16_000] * 2353, 8, by_length=True, seed=42, accumulate=4)
    assert card.steps_per_epoch == 73
    assert 75 * card.steps_per_epoch == 5475
    # 295 batches an epoch, of which the last 3 make no whole update: the card's own column, digit by digit.
    rows = [(row.step, row.epoch) for row in CARD_CURVE]
    assert len(rows) == 13
    assert [round(card.epoch_at(step), 2) for step, _ in rows] == [epoch for _, epoch in rows]
    assert card.epoch_at(5475) == 75


def test_too_few_utterances() -> None:
    with pytest.raises(ValueError, match="103 training utterances make 26 batches of 4, fewer than"):
        order(accumulate=27)


@given(st.lists(st.integers(400, 400_000), min_size=8, max_size=60), st.integers(1, 9), st.integers(1, 8))
def test_as_many_evaluation_batches_on_all_ranks(lengths: list[int], batch_size: int, ranks: int) -> None:
    """With fsdp a rank with more batches would wait forever; each utterance is still evaluated once."""
    batches = [evaluation_batches(lengths, batch_size, rank, ranks) for rank in range(ranks)]
    assert len({len(own) for own in batches}) == 1
    assert sorted(i for own in batches for batch in own for i in batch) == list(range(len(lengths)))
    assert all(batch for own in batches for batch in own)


def test_fewer_utterances_than_ranks() -> None:
    with pytest.raises(ValueError, match="3 utterances to evaluate on 4 devices, of which each needs at least one"):
        evaluation_batches([400] * 3, 8, 0, 4)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_batches(ranks: int) -> None:
    batches = [b for rank in range(ranks) for b in evaluation_batches(LENGTHS, 8, rank, ranks)]
    assert sorted(itertools.chain(*batches)) == list(range(len(LENGTHS)))
    assert LENGTHS[evaluation_batches(LENGTHS, 8)[0][0]] == max(LENGTHS)


@pytest.mark.parametrize("count", [7, 81, 300])
@pytest.mark.parametrize("size", [8, 16])
def test_evaluation_padding(count: int, size: int) -> None:
    lengths = np.random.default_rng(count).integers(12_000, 60_000, count).tolist()
    batches = evaluation_batches(lengths, size)
    padded = sum(len(b) * max(lengths[i] for i in b) for b in batches)
    assert 1 - sum(lengths) / padded < 0.04
    assert max(map(len, batches)) <= size
    if count == 300:
        assert len(batches) < 1.3 * count / size  # and not one utterance per batch


def test_evaluation_ranks() -> None:
    """Every rank has a batch to evaluate."""
    for ranks, lengths in ((2, [3, 1, 2]), (3, [5, 5, 5, 5]), (2, [7, 7])):
        assert all(evaluation_batches(lengths, 16, rank, ranks) for rank in range(ranks))


def example(samples: int, labels: int) -> Example:
    return Example(f"u{samples}", "ក", torch.ones(samples), torch.full((labels,), 3))


def test_collate() -> None:
    batch = collate([example(5, 2), example(3, 1)])
    assert batch.waveforms.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch.targets.tolist() == [[3, 3], [3, 0]]
    assert (batch.waveform_lengths.tolist(), batch.target_lengths.tolist()) == ([5, 3], [2, 1])
    assert batch.audio_seconds == 8 / 16_000


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_state(workers: int) -> None:
    """The position counts the batches that were yielded, not those that workers prefetched."""

    class Data(torch.utils.data.Dataset[Example]):
        def __getitem__(self, at: tuple[int, int]) -> Example:
            return example(at[1] + 1, 1)

    def loader() -> TrainingLoader:
        return TrainingLoader(Data(), order(), workers)

    first = loader()
    yielded = [b.ids for b in itertools.islice(iter(first), 5)]
    assert first.state_dict() == {"behind": 5}
    second = loader()
    second.load_state_dict(first.state_dict())
    rest = [b.ids for b in second]
    assert yielded + rest == [b.ids for b in loader()]


@pytest.mark.parametrize(("option", "on_gpu", "cores", "workers"), [
    (None, False, 8, 0), (None, True, 8, 2), (None, True, 1, 1), (0, True, 8, 0), (3, False, 8, 3),
])  # fmt: skip
def test_number_of_workers(
    monkeypatch: pytest.MonkeyPatch, option: int | None, on_gpu: bool, cores: int, workers: int
) -> None:
    """None on a CPU, whose cores train; up to two on a GPU."""
    monkeypatch.setattr("khasr.data.batching.os.cpu_count", lambda: cores)
    data: Any = [example(1, 1)]
    assert TrainingLoader(data, order(), option, on_gpu).num_workers == workers


# -------------------------------------------------------------------------------------------------- by audio seconds

SECONDS = 40


def by_seconds(**changes: object) -> TrainingOrder:
    return order(**{"batch_samples": SECONDS * 16_000} | changes)


def test_batch_seconds() -> None:
    lengths = np.random.default_rng(1).normal(5.0, 1.5, 2353).clip(1.5, 12) * 16_000  # about OpenSLR 42's
    big = TrainingOrder(lengths.astype(int).tolist(), 8, by_length=True, seed=1, batch_samples=SECONDS * 16_000)
    batches = big.epoch(0)
    padded = [len(b) * max(big._lengths[i] for i in b) for b in batches]
    assert max(padded) <= SECONDS * 16_000
    audio = [sum(big._lengths[i] for i in b) for b in batches]
    assert 1 - sum(audio) / sum(padded) < 0.04
    assert np.mean(padded) > 0.9 * SECONDS * 16_000
    assert max(map(len, batches)) > 3 * min(map(len, batches))


def test_batch_seconds_epoch() -> None:
    one, two = (by_seconds().epoch(e) for e in (0, 1))
    assert sorted(itertools.chain(*one)) == sorted(itertools.chain(*two)) == list(range(len(LENGTHS)))
    assert one == by_seconds().epoch(0)
    together = [{frozenset(b) for b in epoch} for epoch in (one, two)]
    assert len(together[0] & together[1]) < len(one) / 4  # not the same batches in another order


@given(st.integers(0, 70), st.integers(1, 3))
def test_batch_seconds_resume(position: int, accumulate: int) -> None:
    whole, rest = by_seconds(accumulate=accumulate), by_seconds(accumulate=accumulate)
    for o in (whole, rest):
        o.set_steps(24)
    rest.position = position
    assert list(rest) == list(whole)[position:]
    assert len(list(whole)) == 24 * accumulate


@pytest.mark.parametrize("ranks", [2, 3])
def test_batch_seconds_ranks(ranks: int) -> None:
    epochs = [by_seconds(rank=rank, ranks=ranks).epoch(0) for rank in range(ranks)]
    assert len({len(epoch) for epoch in epochs}) == 1
    seen = list(itertools.chain(*itertools.chain(*epochs)))
    assert len(seen) == len(set(seen))


def test_batch_seconds_errors() -> None:
    with pytest.raises(ValueError, match=r"data.batch_seconds=5: the longest training utterance has [\d.]+ s"):
        by_seconds(batch_samples=5 * 16_000)
    with pytest.raises(ValueError, match=r"requires data.order=by_length"):
        by_seconds(by_length=False)
    with pytest.raises(ValueError, match="batches of 40 s, fewer than one optimizer step"):
        by_seconds(accumulate=27)
