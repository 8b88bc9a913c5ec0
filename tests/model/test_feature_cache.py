"""Cached features equal computed ones, and are cached only if they do not change."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from khasr.config import ArchitectureConfig, AugmentConfig, Config, ModelConfig
from khasr.model.ctc import CtcModel
from khasr.model.feature_cache import FeatureCache, build_feature_cache
from khasr.model.feature_encoder import encode_features
from khasr.model.weights import load_start
from khasr.run.folder import RunFolder
from khasr.training.fit import fit

SHAPE = ArchitectureConfig(
    hidden_size=32, layers=1, heads=2, intermediate_size=64, conv_dim=[16] * 7, pos_conv_kernel=8, pos_conv_groups=2
)


def build(frozen: bool = True, **changes: object) -> tuple[CtcModel, ModelConfig]:
    torch.manual_seed(0)
    options = ModelConfig(init="random", architecture=SHAPE, gradient_checkpointing=False, **changes)  # type: ignore[arg-type]
    model = CtcModel(load_start(options).encoder, 7, options)
    if frozen:
        model.encoder.feature_extractor._freeze_parameters()
    return model, options


def test_same_in_any_batch() -> None:
    model, options = build()
    model.eval()
    cache = build_feature_cache(model, options, AugmentConfig(), [16_000] * 3)
    assert cache is not None
    waveforms, lengths = torch.randn(3, 16_000), torch.tensor([16_000, 9_000, 12_345])
    waveforms[1, 9_000:] = 0
    waveforms[2, 12_345:] = 0
    extractor = model.encoder.feature_extractor
    features = cache.features(extractor, waveforms, lengths, ["a", "b", "c"])
    with torch.no_grad():
        (kept, frames), (computed, _) = model(waveforms, lengths, features), model(waveforms, lengths)
    for row, computed_row, count in zip(kept, computed, frames, strict=True):
        torch.testing.assert_close(row[:count], computed_row[:count], atol=2e-5, rtol=0)
    # Equal bit for bit, whatever the rest of the batch and the waveform are.
    again = cache.features(extractor, torch.zeros(2, 9_000), torch.tensor([9_000, 9_000]), ["b", "b"])
    assert torch.equal(again[0], encode_features(extractor, waveforms[1:2, :9_000])[0])
    assert len(cache) == 3


@pytest.mark.parametrize(
    ("frozen", "augment", "gib"),
    [
        (False, AugmentConfig(), 2.0),
        (True, AugmentConfig(gain_db=[-6, 6]), 2.0),
        (True, AugmentConfig(join=[2]), 2.0),
        (True, AugmentConfig(), 1e-6),
    ],
)
def test_not_cached(frozen: bool, augment: AugmentConfig, gib: float) -> None:
    model, options = build(frozen, feature_cache_gib=gib)
    assert build_feature_cache(model, options, augment, [16_000] * 3) is None


def test_run_with_cache(small: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[FeatureCache] = []

    class Noted(FeatureCache):
        def __init__(self) -> None:
            super().__init__()
            built.append(self)

    monkeypatch.setattr("khasr.model.feature_cache.FeatureCache", Noted)
    losses = {}
    for gib in (0, 2):
        config = small(
            "finetune=feature_encoder_frozen", "data.augment.speed=[]", "score_test=false", f"model.feature_cache_gib={gib}"
        )  # fmt: skip
        folder = RunFolder(tmp_path / str(gib))
        fit(config, folder)
        rows = folder.metrics.read_text().splitlines()
        column = rows[0].split(",").index("train/loss")
        losses[gib] = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)
    assert len(losses[0]) == 3
    assert [len(cache) > 10 for cache in built] == [True]  # only one was built, and it was used
