"""Training with FSDP, on two CPU processes whose device is a stub."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from khasr.config import Config
from khasr.run.folder import RunFolder
from khasr.training.fit import fit
from tests.commands import Commands
from tests.conftest import SMALL
from tests.small_runs import read_results, read_rows

# Steps of two batches, a decay that shows, and 3 batches of val on 2 ranks.
OPTIONS = [
    "trainer.accelerator=cpu", "data.order=random", "model.mask_time_prob=0.3", "model.mask_time_length=2",
    "model.hidden_dropout=0.1", "trainer.log_every_steps=1", "trainer.max_steps=6", "trainer.val_every_steps=3",
    "optimizer.weight_decay=0.5", "optimizer.lr=0.01", "data.eval_batch_size=3", "score_test=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(
    compose: Callable[..., Config], corpus: Path, command: Commands, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`one`: a process with two batches a step. `whole` and `stopped`: two ranks with a batch each."""
    folder = tmp_path_factory.mktemp("fsdp")
    words = [*SMALL, f"data.root='{corpus}'", *OPTIONS]
    fit(compose(*words, "trainer.accumulate_grad_batches=2"), RunFolder(folder / "one"))
    sharded = [*words, "trainer.strategy=fsdp", "trainer.devices=2"]
    root = Path(__file__).resolve().parents[2]
    done = command("tests.training.two_ranks", str(folder), *sharded, cwd=root)
    assert done.returncode == 0, done.stderr
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return found


@pytest.mark.parametrize("sharded", ["whole", "stopped"])
def test_equals_one_process(folders: Path, sharded: str) -> None:
    """Loss, gradient norms of the parts, weights and val scores, also after a stop; val batches do not divide by 2."""
    one, two = read_rows(folders / "one"), read_rows(folders / sharded)
    assert [row["step"] for row in one] == [row["step"] for row in two]
    norms = [name for name in one[0] if name.startswith("grad_norm/")]
    assert len(norms) == 6
    for name in ("train/loss", "train/grad_norm", "train/lr", "train/blank_share", "val/loss", "val/wer", *norms):
        ours, theirs = ([float(row[name]) for row in rows if row[name]] for rows in (two, one))
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6), name
    alone, shards = weights(folders / "one"), weights(folders / sharded)
    for name, weight in alone.items():
        torch.testing.assert_close(shards[name], weight, rtol=1e-3, atol=1e-4, msg=name)
    assert read_results(folders / sharded)["val"] == read_results(folders / "one")["val"]


def test_weight_decay(folders: Path) -> None:
    """Matrices have it, norms and biases do not, although a shard of either has one dimension."""
    decayed = json.loads((folders / "0.json").read_text(encoding="utf-8"))["decayed"]
    assert decayed == {"0.5": 19, "0.0": 37}


def test_stopped_by_the_second_rank(folders: Path) -> None:
    stopped = [json.loads((folders / f"{rank}.json").read_text(encoding="utf-8"))["stopped"] for rank in (0, 1)]
    # Lightning would kill the first process because of a second one that fails.
    assert stopped == ["stopped by SIGTERM", ""]
