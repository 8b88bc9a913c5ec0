"""Recomputation of activations by predicted memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from khasr.config import Config
from khasr.data.datamodule import CorpusDataModule
from khasr.model.footprint import Footprint
from khasr.model.weights import encoder_config
from khasr.training import fit, recomputation
from khasr.training.prediction import GIB, batches_of
from khasr.training.recomputation import choose_recomputation
from tests.conftest import SMALL

Small = Callable[..., Config]
# With weights and AdamW's states 4 + 4 + 8 GiB, with activations 4 GiB, with CUDA 0.6.
NEEDED = Footprint(parameters=GIB, trained=GIB, factored=0, activation_bytes=4 * GIB, flops=1, seconds=1.0)


@pytest.fixture(scope="module")
def data(compose: Small, corpus: Path, cache: Path) -> CorpusDataModule:
    config = compose(*SMALL, f"data.root='{corpus}'", f"data.cache_dir='{cache}'")
    read = CorpusDataModule(config.data, 0)
    read.prepare(progress=False)
    return read


@pytest.mark.parametrize(
    ("options", "memory", "recompute", "sentence"),
    [
        (["auto"], 30.0, False, "activations are kept (model.gradient_checkpointing=auto): with kept ones the largest"),
        (
            ["auto"],
            24.0,
            True,
            "activations are recomputed (model.gradient_checkpointing=auto): with kept ones the lar",
        ),
        (["auto", "model.layerdrop=0.1"], 24.0, True, "activations are recomputed"),
        (["auto", "model.layerdrop=0.1", "trainer.devices=2"], 24.0, False, "activations are kept"),
        (["auto", "trainer=fsdp", "trainer.devices=2"], 30.0, False, "needs about 20.6 of 30.0 GiB"),
        (["false"], 1.0, False, ""),
        (["true"], 100.0, True, ""),
    ],
)
def test_choice(
    small: Small, data: CorpusDataModule, monkeypatch: pytest.MonkeyPatch,
    options: list[str], memory: float, recompute: bool, sentence: str,
) -> None:  # fmt: skip
    """Activations are kept if the prediction with kept ones fills at most 85 % of the memory."""
    config = small(f"model.gradient_checkpointing={options[0]}", *options[1:])
    predicted: list[Any] = []

    def predict(config: Config, *arguments: Any) -> Footprint:
        predicted.append(config.model.gradient_checkpointing)
        return NEEDED

    monkeypatch.setattr(recomputation, "predict", predict)
    found = choose_recomputation(config, data, memory)
    assert found[0] is recompute
    assert sentence in found[1]
    assert (found[1] == "") == (sentence == "")
    assert predicted in ([], [False])
    assert config.model.gradient_checkpointing == {"true": True, "false": False}.get(options[0], "auto")


@pytest.mark.parametrize("memory", [100.0, 0.0])
def test_model_of_a_run(small: Small, data: CorpusDataModule, monkeypatch: pytest.MonkeyPatch, memory: float) -> None:
    """The model has what was chosen from its own prediction, and the run prints it."""
    monkeypatch.setattr(fit, "usable_memory_gib", lambda options: memory)
    model, _, note = fit._build_model(small("model.gradient_checkpointing=auto"), data, None)
    assert model.options.gradient_checkpointing is (memory == 0)
    assert model.encoder.is_gradient_checkpointing is (memory == 0)
    kind = "recomputed" if memory == 0 else "kept"
    assert f"\nactivations are {kind} (model.gradient_checkpointing=auto)" in note


def test_layers_dropped_before(small: Small, data: CorpusDataModule) -> None:
    """A resumed run has fewer layers than its options state; they are not dropped again."""
    config = small("model.gradient_checkpointing=auto", "finetune.drop_layers=1")
    shape = encoder_config(config.model)
    shape.num_hidden_layers = 1
    assert choose_recomputation(config, data, 100.0, shape, as_saved=True)[0] is False


def test_largest_batch_of_augmented_waveforms(small: Small, data: CorpusDataModule) -> None:
    plain = batches_of(small("data.augment.speed=[]"), data).samples
    slower = batches_of(small("data.augment.speed=[0.5,1.5]", "data.augment.pause_seconds=[0.1,1]"), data).samples
    assert slower == 2 * plain + 2 * 16_000
