import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy
from torch.distributed.fsdp import MixedPrecision

from khasr.config import Config
from khasr.model.ctc import CtcModel
from khasr.model.weights import load_start
from khasr.run.folder import RunFolder
from khasr.training.combinations import check_combinations
from khasr.training.devices import check_devices
from khasr.training.fit import fit
from khasr.training.strategy import build_strategy
from tests.commands import Commands
from tests.conftest import SMALL
from tests.small_runs import read_results, read_rows

Small = Callable[..., Config]
CPU = ["trainer.accelerator=cpu"]
# With masks and dropout, which on the second of two devices equal those of the second of two batches.
DRAWN = [
    "model.mask_time_prob=0.3", "model.mask_time_length=2", "model.hidden_dropout=0.1", "trainer.log_every_steps=1",
    "data.order=random", "score_test=false",
]  # fmt: skip


def test_two_processes_equal_accumulation(small: Small, corpus: Path, command: Commands, tmp_path: Path) -> None:
    """A fork and an interpreter, whose sets have different orders, equal one process."""
    fit(small(*CPU, *DRAWN, "trainer.accumulate_grad_batches=2"), RunFolder(tmp_path / "one"))
    words = [*SMALL, *CPU, *DRAWN, f"data.root='{corpus}'", "trainer=ddp", "trainer.devices=2"]
    words.append(f"hydra.run.dir='{tmp_path}/two'")
    root = Path(__file__).resolve().parents[2]
    done = command("khasr.train", *words, cwd=root, python=sys.executable, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("vocabulary:") == 1, "only the first process prints"
    one, two = read_rows(tmp_path / "one"), read_rows(tmp_path / "two")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for name in ("train/loss", "train/grad_norm", "train/lr", "val/loss", "val/wer"):
        ours, theirs = ([float(row[name]) for row in rows if row[name]] for rows in (two, one))
        assert ours == pytest.approx(theirs, rel=1e-5), name
    assert read_results(tmp_path / "two")["val"] == read_results(tmp_path / "one")["val"]


def test_layerdrop_with_checkpointing(small: Small) -> None:
    asked = ["trainer=ddp", "trainer.devices=2", "model.layerdrop=0.1", "model.gradient_checkpointing=true"]
    with pytest.raises(ValueError, match=r"each device drops different layers.*model.layerdrop=0 or"):
        check_devices(small(*CPU, *asked))
    for change in ("model.layerdrop=0", "model.gradient_checkpointing=false", "trainer.devices=1"):
        check_devices(small(*CPU, *asked, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimizer.ema_decay=0.9", "optimizer.ema_decay=0.9.*the average is of whole weights"),
        ("finetune=lora", "finetune=lora.*adapters are merged into whole weights"),
        ("optimizer=adamw_8bit", "optimizer=adamw_8bit.*8-bit states cannot be collected"),
        ("optimizer=adafactor", "optimizer=adafactor.*a shard has no rows and columns"),
        ("finetune.freeze_encoder_steps=0.5", "finetune.freeze_encoder_steps=0.5.*cannot be frozen or released"),
        ("model.layerdrop=0.1", "model.layerdrop=0.1.*transformers would drop none, silently"),
        ("model.compile=true", "model.compile=true.*compiled layers have not been checked with gathered weights"),
    ],
)
def test_refused_with_fsdp(small: Small, change: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"trainer.strategy=fsdp with {message}.*trainer=ddp works with it"):
        check_combinations(small("trainer=fsdp", change), 2)
    check_combinations(small("trainer=fsdp"), 2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["precision=fp16"], "precision=fp32"),
        (["trainer=fsdp"], "GPUs"),
        (["trainer=ddp"], "devices=2"),
        (["trainer.accelerator=gpu"], "accelerator=auto"),
    ],
)
def test_unavailable_devices(small: Small, changes: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_devices(small(*changes))


def test_fsdp_strategy(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small("trainer=fsdp", "trainer.devices=2")
    model = CtcModel(load_start(config.model).encoder, 5, config.model)
    strategy = build_strategy(config.trainer, model, False)
    assert isinstance(strategy, FSDPStrategy)
    assert strategy._state_dict_type == "full"
    assert strategy.kwargs["use_orig_params"]
    assert strategy.mixed_precision == MixedPrecision(torch.float32, torch.float32, torch.float32)
    assert strategy.kwargs["auto_wrap_policy"]._module_classes == {type(model.encoder.encoder.layers[0])}


def test_ddp_strategy(small: Small) -> None:
    config = small("trainer=ddp", "trainer.devices=2")
    model = CtcModel(load_start(config.model).encoder, 5, config.model)
    for unused in (True, False):
        strategy = build_strategy(config.trainer, model, unused)
        assert isinstance(strategy, DDPStrategy)
        assert strategy._ddp_kwargs == {"find_unused_parameters": unused, "gradient_as_bucket_view": True}
    config.trainer.devices, config.trainer.strategy = 1, "auto"
    assert build_strategy(config.trainer, model, False) == "auto"
