from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from khasr.config import AugmentConfig, Config
from khasr.data.audio import standardise
from khasr.data.augment import amplify, augment
from khasr.data.datamodule import CorpusDataModule
from khasr.data.parts import PartDataset

TONE = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)


def test_defaults() -> None:
    assert augment(TONE, AugmentConfig(), np.random.default_rng(0)) is TONE


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed(factor: float) -> None:
    faster = augment(TONE, AugmentConfig(speed=[factor]), np.random.default_rng(0))
    assert len(faster) == pytest.approx(16_000 / factor, abs=2)
    peak = np.argmax(np.abs(np.fft.rfft(faster))) * 16_000 / len(faster)
    assert peak == pytest.approx(440 * factor, abs=2)


def test_noise() -> None:
    noisy = augment(TONE, AugmentConfig(noise_snr_db=[10, 10]), np.random.default_rng(0))
    ratio = 10 * np.log10(np.mean(TONE**2) / np.mean((noisy - TONE) ** 2))
    assert ratio == pytest.approx(10, abs=0.3)


def test_seed() -> None:
    options = AugmentConfig(speed=[0.9, 1.0, 1.1], noise_snr_db=[5, 30])
    drawn = [augment(TONE, options, np.random.default_rng(s)) for s in (3, 3, 4)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_gain() -> None:
    """The gain is uniform in dB and applies to standardised waveforms."""
    generator = np.random.default_rng(0)
    options = AugmentConfig(gain_db=[-12, 6])
    drawn = [20 * np.log10(np.std(amplify(standardise(TONE), options, generator))) for _ in range(300)]
    assert -12 <= min(drawn) < -11
    assert 5 < max(drawn) <= 6
    assert np.mean(drawn) == pytest.approx(-3, abs=1)
    assert amplify(TONE, options, generator).dtype == np.float32
    assert amplify(TONE, AugmentConfig(), generator) is TONE


def test_gain_in_training_only(compose: Callable[..., Config], corpus: Path) -> None:
    config = compose(
        "experiment=quickstart",
        "data=folder",
        f"data.root='{corpus}'",
        "data.augment.speed=[]",
        "data.augment.gain_db=[6,6]",
    )
    data = CorpusDataModule(config.data, seed=1)
    data.prepare(progress=False)
    levels = [
        PartDataset(data.parts["train"], data.vocabulary, config.data, seed)[(0, 0)].waveform.std()
        for seed in (1, None)
    ]
    assert levels[0].item() == pytest.approx(10 ** (6 / 20), rel=1e-3)
    assert levels[1].item() == pytest.approx(1, rel=1e-3)


def test_pauses() -> None:
    """Pauses are faint, have the configured length, and occur at half of the ends."""
    options, generator = AugmentConfig(pause_seconds=[0.5, 0.5]), np.random.default_rng(0)
    loud = np.sqrt(np.mean(TONE**2))
    ends = []
    for _ in range(200):
        changed = augment(TONE, options, generator)
        before = 0 if np.array_equal(changed[: len(TONE)], TONE) else 1
        after = (len(changed) - len(TONE)) // 8000 - before
        ends.append((before, after))
        start = 8000 * before
        assert np.array_equal(changed[start : start + len(TONE)], TONE)
        for pause in (changed[:start], changed[start + len(TONE) :]):
            assert len(pause) in (0, 8000)
            assert not len(pause) or 1e-3 < np.sqrt(np.mean(pause**2)) / loud < 0.11
        assert changed.dtype == np.float32
    for end in range(2):
        assert 70 < sum(e[end] for e in ends) < 130


def _training(compose: Callable[..., Config], corpus: Path, *changes: str) -> tuple[CorpusDataModule, PartDataset]:
    config = compose("experiment=quickstart", "data=folder", f"data.root='{corpus}'", "data.augment.speed=[]", *changes)
    data = CorpusDataModule(config.data, seed=1)
    data.prepare(progress=False)
    return data, PartDataset(data.parts["train"], data.vocabulary, config.data, 1)


def test_join(compose: Callable[..., Config], corpus: Path) -> None:
    data, joined = _training(compose, corpus, "data.augment.join=[2]")
    part = data.parts["train"]
    batch = [(0, i) for i in range(5)]
    examples = joined.__getitems__(batch)
    assert len(examples) == 3
    assert [e.id for e in joined.__getitems__(batch)] == [e.id for e in examples]  # of (seed, batch) alone
    own = {str(part.audio[i]["id"]): i for i in range(5)}
    said = [id_ for e in examples for id_ in e.id.split("+")]
    assert sorted(said) == sorted(own)
    for example in examples:
        members = [own[id_] for id_ in example.id.split("+")]
        assert example.reference == " ".join(part.texts[i] for i in members)
        assert example.targets.tolist() == data.vocabulary.encode(example.reference)
        assert len(example.waveform) == sum(part.lengths[i] for i in members)
        assert example.waveform.std().item() == pytest.approx(1, rel=1e-3)
    plain = _training(compose, corpus)[1]
    assert [e.id for e in plain.__getitems__(batch)] == list(own)


def test_join_with_gain(compose: Callable[..., Config], corpus: Path) -> None:
    data, joined = _training(compose, corpus, "data.augment.join=[4]", "data.augment.gain_db=[-20,0]")
    part = data.parts["train"]
    own = {str(part.audio[i]["id"]): i for i in range(4)}
    (example,) = joined.__getitems__([(0, i) for i in range(4)])
    edges = np.cumsum([part.lengths[own[id_]] for id_ in example.id.split("+")])[:-1]
    levels = [20 * np.log10(x.std()) for x in np.split(example.waveform.numpy(), edges)]
    assert np.ptp(levels) > 3
    assert example.waveform.std().item() == pytest.approx(1, rel=1e-3)


def test_join_without_spaces(compose: Callable[..., Config], corpus: Path) -> None:
    data, joined = _training(compose, corpus, "data.augment.join=[2]", "data.text.spaces=delete")
    assert " " not in data.vocabulary.symbols
    for example in joined.__getitems__([(0, i) for i in range(4)]):
        assert min(example.targets.tolist()) > 1  # neither blank nor <unk>


def test_val_not_joined(compose: Callable[..., Config], corpus: Path) -> None:
    data, _ = _training(compose, corpus, "data.augment.join=[2]", "data.augment.pause_seconds=[1,1]")
    lengths = [n for batch in data.val_dataloader() for n in batch.waveform_lengths.tolist()]
    assert sorted(lengths) == sorted(data.parts["val"].lengths)


def test_training_batch_joined(compose: Callable[..., Config], corpus: Path) -> None:
    data, _ = _training(compose, corpus, "data.augment.join=[2]")
    batch = next(iter(data.train_dataloader()))
    assert len(batch.ids) == 2  # of quickstart's 4
    assert all("+" in id_ for id_ in batch.ids)
