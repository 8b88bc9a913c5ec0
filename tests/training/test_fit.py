"""Whole runs, small: what they write, how they stop, go on, fail and start from one another."""

import csv
import json
import math
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import wandb
import yaml
from lightning_fabric.plugins.environments import slurm as slurm_module

from khasr.config import Config, from_plain, to_config
from khasr.model.weights import check_weights, load_start
from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted
from khasr.scoring.error_rates import word_edits
from khasr.training import fit as fit_module
from khasr.training.callbacks import Diverged, TrainingMetrics
from khasr.training.checkpoints import Checkpoints
from khasr.training.fit import fit
from khasr.training.module import CtcModule

Small = Callable[..., Config]
# All that is random in a batch, and a step of several batches.
RANDOM = [
    "model.mask_time_prob=0.3", "model.mask_time_length=2", "model.mask_feature_prob=0.2", "model.mask_feature_length=4",
    "model.hidden_dropout=0.1", "model.layerdrop=0.2", "data.augment.noise_snr_db=[5,20]",
    "trainer.accumulate_grad_batches=2", "trainer.max_steps=12", "trainer.val_every_steps=5",
]  # fmt: skip


def read_results(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(compose: Callable[..., Config], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained to its end."""
    from tests.conftest import SMALL

    folder = tmp_path_factory.mktemp("finished") / "run"
    os.environ["KHASR_CACHE"] = str(folder.parent / "cache")
    fit(compose(*SMALL, f"data.root='{corpus}'", "score_test=true"), RunFolder(folder))
    return folder


def test_a_run_folder_holds_what_it_promises(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert names == {
        "config.yaml", "metrics.csv", "learning_curve.png", "hypotheses.tsv", "checkpoints", "results.json",
        "split.tsv",
    }  # fmt: skip
    assert {p.name for p in (finished / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "start.ckpt"}
    assert (finished / "learning_curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    to_config(from_plain(yaml.safe_load((finished / "config.yaml").read_text(encoding="utf-8"))))


def test_results_say_what_came_of_it(finished: Path) -> None:
    results = read_results(finished)
    assert list(results) == [
        "schema", "status", "commit", "versions", "device", "model", "data", "seed", "val", "test", "train", "trouble"
    ]  # fmt: skip
    assert (results["status"], results["model"], results["data"], results["seed"]) == (
        "completed",
        "tiny",
        "folder",
        42,
    )
    assert results["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(results["val"]) == set(results["test"]) == {"wer", "cer", "utterances"}
    assert (results["val"]["utterances"], results["test"]["utterances"]) == (8, 4)
    train = results["train"]
    assert set(train) == {
        "steps", "epochs", "seconds", "audio_seconds", "audio_seconds_per_second", "peak_memory_gib", "parameters",
        "lr_area", "left_blank_at_step", "skipped_share", "padding_share", "audio_seconds_per_update", "time",
    }  # fmt: skip
    assert train["steps"] == 6
    assert train["epochs"] == pytest.approx(6 / 7)  # 28 utterances, 4 a batch
    assert train["audio_seconds"] > 0
    assert 0 < train["peak_memory_gib"] < 24


def test_hypotheses_add_up_to_the_results(finished: Path) -> None:
    with (finished / "hypotheses.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert list(rows[0])[:5] == ["id", "reference", "hypothesis", "edits", "seconds"]
    for part in ("val", "test"):
        mine = [row for row in rows if row["part"] == part]
        edits = sum(word_edits(row["reference"], row["hypothesis"]).total for row in mine)
        assert edits == sum(int(row["edits"]) for row in mine)
        words = sum(len(row["reference"].split()) for row in mine)
        assert read_results(finished)[part]["wer"] == pytest.approx(edits / words)


def test_metrics_have_rows_of_training_and_validation_and_the_last_step_is_validated(
    small: Small, tmp_path: Path
) -> None:
    fit(small("trainer.max_steps=7", "trainer.val_every_steps=3"), RunFolder(tmp_path))
    rows = read_rows(tmp_path)
    assert [int(r["step"]) for r in rows if r["val/wer"]] == [3, 6, 7]
    assert [int(r["step"]) for r in rows if r["train/loss"]] == [2, 4, 6]
    assert float(rows[0]["train/lr"]) > 0


def test_symbols_of_the_test_part_are_not_looked_at_unasked(
    small: Small, tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from khasr.data.splits import Row, split

    root = tmp_path / "corpus"
    shutil.copytree(corpus, root)
    table = root / "utterances.tsv"
    lines = table.read_text(encoding="utf-8").splitlines()
    config = small(f"data.root='{root}'")
    test = split([Row(line.split("\t")[0].removesuffix(".wav")) for line in lines[1:]], config.data)["test"]
    changed = [f"{line}".replace("\ts", "ឃ\ts") if line.split(".wav")[0] in test else line for line in lines]
    table.write_text("\n".join(changed) + "\n", encoding="utf-8")
    fit(small(f"data.root='{root}'", "score_test=false"), RunFolder(tmp_path / "a"))
    assert "U+1783" not in capsys.readouterr().out
    fit(small(f"data.root='{root}'", "score_test=true"), RunFolder(tmp_path / "b"))
    assert "'ឃ' (U+1783) x 4" in capsys.readouterr().out


def test_the_test_part_is_read_only_when_asked(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from khasr.data.datamodule import CorpusDataModule

    asked: list[str] = []
    loader = CorpusDataModule.evaluation_loader
    monkeypatch.setattr(
        CorpusDataModule,
        "evaluation_loader",
        lambda self, part, **how: asked.append(part) or loader(self, part, **how),
    )
    results = fit(small("score_test=false"), RunFolder(tmp_path))
    assert results["test"] is None
    assert set(asked) == {"val"}


def test_it_learns(small: Small, tmp_path: Path) -> None:
    """Tones are easy: the loss falls to a fraction, and something is recognised."""
    changes = ["trainer.max_steps=150", "trainer.val_every_steps=50", "optimizer.lr=5e-3", "data.augment.speed=[]"]
    results = fit(small(*changes), RunFolder(tmp_path))
    rows = read_rows(tmp_path)
    losses = [float(r["train/loss"]) for r in rows if r["train/loss"]]
    assert losses[-1] < 0.5 * losses[2]
    assert results["val"]["cer"] < 0.6


# ---------------------------------------------------------------------------------------------------------- resuming


def stop_after(monkeypatch: pytest.MonkeyPatch, batches: int, signum: int, during_validation: bool = False) -> None:
    """Sends this process a signal while a batch is trained on, or while the validation after it runs."""
    hook = "on_validation_epoch_end" if during_validation else "training_step"
    original = getattr(CtcModule, hook)
    seen = {"batches": 0}
    step = CtcModule.training_step

    def counted(self: CtcModule, batch: Any, batch_idx: int) -> torch.Tensor:
        seen["batches"] = batch_idx + 1
        return step(self, batch, batch_idx)

    def sending(self: CtcModule, *arguments: Any) -> Any:
        result = original(self, *arguments)
        if not during_validation:
            seen["batches"] = arguments[1] + 1
        if seen["batches"] == batches:
            os.kill(os.getpid(), signum)
        return result

    monkeypatch.setattr(CtcModule, "training_step", counted)
    monkeypatch.setattr(CtcModule, hook, sending)


def resumed(small: Small, folder: Path) -> Config:
    config = small(*RANDOM)
    config.resume = str(folder)
    return config


def same(ours: Any, theirs: Any, path: str = "") -> None:
    """Equal to the bit, times of the clock apart."""
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), path
    elif isinstance(ours, dict):
        assert set(ours) == set(theirs), path
        for key in ours:
            if "seconds" not in str(key) or str(key) == "audio_seconds":
                same(ours[key], theirs[key], f"{path}/{key}")
    elif isinstance(ours, list | tuple):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            same(a, b, f"{path}/{i}")
    else:
        assert ours == theirs, path


def tensors(nested: Any) -> list[torch.Tensor]:
    if isinstance(nested, torch.Tensor):
        return [nested]
    inner = nested.values() if isinstance(nested, dict) else nested if isinstance(nested, list) else []
    return [tensor for value in inner for tensor in tensors(value)]


@pytest.mark.parametrize(
    ("signum", "batches", "during_validation", "stops_at"),
    [
        (signal.SIGINT, 13, False, 7),
        (signal.SIGTERM, 13, False, 7),
        (signal.SIGTERM, 20, False, 10),
        (signal.SIGALRM, 13, False, 7),
        (signal.SIGTERM, 20, True, 10),
        (signal.SIGTERM, 1, False, 1),
    ],
    ids=[
        "mid accumulation, Ctrl-C",
        "mid accumulation",
        "where validation is due",
        "mid accumulation, a budget",
        "in validation",
        "the first batch",
    ],
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    batches: int, during_validation: bool, stops_at: int, signum: int,
) -> None:  # fmt: skip
    before = signal.getsignal(signum)  # a shell's background job has SIGINT ignored
    fit(small(*RANDOM), RunFolder(tmp_path / "whole"))

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=signal.Signals(signum).name):
        stop_after(patch, batches, signum, during_validation)
        fit(small(*RANDOM), RunFolder(tmp_path / "parts"))
    stopped = read_results(tmp_path / "parts")
    assert stopped["status"] == "interrupted"
    assert stopped["train"]["steps"] == stops_at
    assert signal.getsignal(signum) == before

    fit(resumed(small, tmp_path / "parts"), RunFolder(tmp_path / "parts"))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (
            torch.load(folder / "checkpoints" / name, weights_only=True, map_location="cpu")
            for folder in (parts, whole)
        )
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "window", "global_step"):
            same(ours.get(key), theirs.get(key), key)
    ours_rows, theirs_rows = read_rows(parts), read_rows(whole)
    assert len(ours_rows) == len(theirs_rows)
    for a, b in zip(ours_rows, theirs_rows, strict=True):
        for key in [key for key in a if key.startswith("time/") or key == "train/audio_seconds_per_second"]:
            a.pop(key)
            b.pop(key)
        assert a == b
    a, b = read_results(parts), read_results(whole)
    assert a["val"] == b["val"]
    assert a["train"]["audio_seconds"] == b["train"]["audio_seconds"]
    assert a["status"] == "completed"


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw_8bit"])
def test_resumed_equals_uninterrupted_with_the_optimizers_that_save_memory(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    # bitsandbytes keeps tensors of fewer than 4,096 weights in 32 bits.
    changes = [*RANDOM, f"optimizer={optimizer}", "model.architecture.intermediate_size=128"]
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    fit(small(*changes), whole)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_after(patch, 13, signal.SIGTERM)
        fit(small(*changes), parts)
    config = small(*changes)
    config.resume = str(parts.path)
    fit(config, parts)
    ours, theirs = (torch.load(f.last, weights_only=True) for f in (parts, whole))
    same(ours["state_dict"], theirs["state_dict"])
    same(ours["optimizer_states"], theirs["optimizer_states"])
    eight_bits = "torch.uint8" in str([v.dtype for v in tensors(theirs["optimizer_states"])])
    assert eight_bits == (optimizer == "adamw_8bit")


def test_a_run_killed_after_a_checkpoint_goes_on_from_it_and_repeats_no_row(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(small(*RANDOM), RunFolder(tmp_path / "whole"))
    original = TrainingMetrics.on_train_batch_end

    def die(self: TrainingMetrics, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        original(self, trainer, module, outputs, batch, batch_idx)
        if batch_idx == 17:  # step 9; the last checkpoint is of step 5
            raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(TrainingMetrics, "on_train_batch_end", die)
        fit(small(*RANDOM), RunFolder(tmp_path / "parts"))
    assert read_results(tmp_path / "parts")["status"] == "failed"
    fit(resumed(small, tmp_path / "parts"), RunFolder(tmp_path / "parts"))
    ours, theirs = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("parts", "whole")
    )
    same(ours["state_dict"], theirs["state_dict"])
    steps = [[row["step"] for row in read_rows(tmp_path / name)] for name in ("parts", "whole")]
    assert steps[0] == steps[1]


def test_a_second_signal_stops_at_once(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = CtcModule.training_step

    def twice(self: CtcModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if batch_idx == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(CtcModule, "training_step", twice)
    with pytest.raises(Interrupted):
        fit(small(*RANDOM), RunFolder(tmp_path))
    assert not (tmp_path / "checkpoints/last.ckpt").exists()
    assert read_results(tmp_path)["status"] == "interrupted"


def test_a_resume_that_fails_leaves_the_run_as_it_was(finished: Path, small: Small, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = read_results(folder), (folder / "config.yaml").read_text(encoding="utf-8")
    config = small("trainer.accelerator=gpu" if not torch.cuda.is_available() else "data.root=/absent")
    config.resume = str(folder)
    with pytest.raises((ValueError, FileNotFoundError)):
        fit(config, RunFolder(folder))
    after = read_results(folder)
    assert after["status"] == "failed"
    assert (after["val"], after["test"]) == (before[0]["val"], before[0]["test"])
    assert (folder / "config.yaml").read_text(encoding="utf-8") == before[1]


def test_going_on_needs_no_other_weights_than_its_own(
    finished: Path, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    start = tmp_path / "start"
    shutil.copytree(finished, start)
    fit(small(f"model.checkpoint='{start}'", "trainer.max_steps=3"), RunFolder(tmp_path / "run"))
    shutil.rmtree(start)
    config = small(f"model.checkpoint='{start}'", "trainer.max_steps=6")
    config.resume = str(tmp_path / "run")
    assert fit(config, RunFolder(tmp_path / "run"))["train"]["steps"] == 6


def test_resuming_what_has_no_checkpoint_is_told(small: Small, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt does not exist"):
        fit(resumed(small, tmp_path), RunFolder(tmp_path))


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    from khasr.training.checkpoints import WholeFileIO

    path = tmp_path / "last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)

    class Unwritable:
        def __reduce__(self) -> Any:
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        WholeFileIO().save_checkpoint({"weights": torch.zeros(10_000), "broken": Unwritable()}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_full_disk_is_told_as_one_and_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import io

    from khasr.training.checkpoints import WholeFileIO

    path = tmp_path / "last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)

    class FullDisk(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 10_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda *_: FullDisk())
    with pytest.raises(OSError, match=r"No space left on device.*last\.ckpt") as told:
        WholeFileIO().save_checkpoint({"weights": torch.zeros(100_000)}, path)
    monkeypatch.undo()
    assert told.value.errno == errno.ENOSPC
    assert torch.load(path, weights_only=True) == {"step": 1}


# ------------------------------------------------------------------------------------------------ other ends of a run


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged_with_the_utterances(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = fit_module.CtcModule.training_step

    def spoiled(self: CtcModule, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = losses(self, batch, batch_idx)
        if batch_idx >= 5:
            self.last_loss = math.nan
        return loss

    monkeypatch.setattr(CtcModule, "training_step", spoiled)
    with pytest.raises(Diverged, match=r"3 batches in a row.*optimizer\.lr.*audio/u0"):
        fit(small("trainer.nonfinite_patience=3", "trainer.max_steps=20"), RunFolder(tmp_path))
    results = read_results(tmp_path)
    assert results["status"] == "diverged"
    assert results["train"]["steps"] == 8
    assert (tmp_path / "learning_curve.png").is_file()


def test_a_fault_of_the_program_ends_the_run_as_failed_with_its_traceback(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr(Checkpoints, "on_validation_end", broken)
    with pytest.raises(KeyError):
        fit(small(), RunFolder(tmp_path))
    assert read_results(tmp_path)["status"] == "failed"
    assert "no such thing" in (tmp_path / "traceback.txt").read_text()


def test_fp16_on_a_cpu_is_refused_and_fp32_named(small: Small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fp16 needs a GPU.*precision=fp32"):
        fit(small("precision=fp16", "trainer.accelerator=cpu"), RunFolder(tmp_path))


def test_what_is_known_to_fail_is_told_before_the_corpus_is_read(small: Small, tmp_path: Path) -> None:
    for change, told in {"decoder=beam_lm": "go together", "trainer.accelerator=gpu": "no GPU"}.items():
        if told == "no GPU" and torch.cuda.is_available():
            continue
        with pytest.raises(ValueError, match=told):
            fit(small(change, "data.root=/absent"), RunFolder(tmp_path / "run"))


@pytest.mark.parametrize("precision", ["bf16", "bf16_true"])
def test_other_precisions_train(small: Small, tmp_path: Path, precision: str) -> None:
    results = fit(small(f"precision={precision}", "trainer.max_steps=2"), RunFolder(tmp_path))
    assert math.isfinite(float(read_rows(tmp_path)[0]["train/loss"]))
    assert results["status"] == "completed"


def test_recomputed_activations_change_nothing(small: Small, tmp_path: Path) -> None:
    for name in ("true", "false"):
        fit(small(*RANDOM, f"model.gradient_checkpointing={name}"), RunFolder(tmp_path / name))
    ours, theirs = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("true", "false")
    )
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-6, rtol=1e-4)


def test_a_folder_that_holds_a_run_is_left_alone(finished: Path, small: Small) -> None:
    before = read_results(finished)
    with pytest.raises(ValueError, match=r"already holds a run.*resume="):
        fit(small(), RunFolder(finished))
    assert read_results(finished) == before


def test_faulty_utterances_stop_the_run_or_are_left_out_and_counted(
    small: Small, tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    root = tmp_path / "corpus"
    shutil.copytree(corpus, root)
    (root / "audio/u003.wav").unlink()
    (root / "audio/u005.wav").write_bytes(b"not audio")
    with pytest.raises(ValueError, match=r"utterances\.tsv:5: audio/u003\.wav is no file.*1 of 40.*on_error=skip"):
        fit(small(f"data.root='{root}'"), RunFolder(tmp_path / "a"))
    fit(small(f"data.root='{root}'", "data.on_error=skip"), RunFolder(tmp_path / "b"))
    told = capsys.readouterr().out
    assert "left out: 1 utterances, no audio" in told
    assert "left out: 1 utterances, unreadable audio" in told


# ----------------------------------------------------------------------------------------- starting from another's


def test_a_run_starts_from_another_s_weights_with_its_head(finished: Path, small: Small, tmp_path: Path) -> None:
    changes = [f"model.checkpoint='{finished}'", "trainer.max_steps=1", "optimizer.lr=0"]
    fit(small(*changes), RunFolder(tmp_path / "kept"))
    best = torch.load(finished / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    kept = torch.load(tmp_path / "kept/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    same(kept, best)
    fit(small(*changes, "model.head=new"), RunFolder(tmp_path / "new"))
    new = torch.load(tmp_path / "new/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    for name, weight in new.items():
        assert torch.equal(weight, best[name]) == (name != "model.head.weight" and name != "model.head.bias"), name


def test_keeping_a_head_where_there_is_none_is_refused(small: Small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.head=keep.*random weights"):
        fit(small("model.head=keep"), RunFolder(tmp_path))


def test_keeping_a_head_that_lacks_a_training_symbol_names_it(
    finished: Path, small: Small, tmp_path: Path, corpus: Path
) -> None:
    import shutil

    root = tmp_path / "corpus"
    shutil.copytree(corpus, root)
    table = root / "utterances.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("ក", "ឃ"), encoding="utf-8")
    changes = [f"model.checkpoint='{finished}'", f"data.root='{root}'"]
    with pytest.raises(ValueError, match=r"'ឃ' \(U\+1783\).*model\.head=new"):
        fit(small(*changes, "model.head=keep"), RunFolder(tmp_path / "a"))
    results = fit(small(*changes), RunFolder(tmp_path / "b"))  # auto: another vocabulary, so a new head
    assert results["status"] == "completed"


def test_weights_that_are_nowhere_are_told_with_the_ways_out(
    compose: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    config = compose("model=xlsr_1b", "model.checkpoint=facebook/no-such-model")
    with pytest.raises(FileNotFoundError) as told:
        fit(config, RunFolder(tmp_path / "run"))
    message = str(told.value)
    assert "\n" not in message
    for piece in ("facebook/no-such-model", "model.checkpoint=DIR", "model.init=random"):
        assert piece in message
    assert read_results(tmp_path / "run")["status"] == "failed"


def test_a_hugging_face_folder_is_loaded_and_one_without_weights_refused(
    compose: Callable[..., Config], tmp_path: Path
) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    shape: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer", "do_stable_layer_norm": True, "codevector_dim": 8, "proj_codevector_dim": 8,
    }  # fmt: skip
    theirs = Wav2Vec2ForPreTraining(Wav2Vec2Config(**shape))
    theirs.save_pretrained(tmp_path / "w2v")
    start = load_start(compose("model.checkpoint=" + str(tmp_path / "w2v")).model)
    same(dict(start.encoder.state_dict()), dict(theirs.wav2vec2.state_dict()))
    (tmp_path / "w2v/model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights\. Ways out: model\.checkpoint=DIR"):
        check_weights(compose("model.checkpoint=" + str(tmp_path / "w2v")).model)


# ------------------------------------------------------------------------------------------------------------ loggers


def test_wandb_works_without_an_account_is_finished_and_its_key_is_nowhere(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("HF_TOKEN", "hf_" + key)
    runs = []
    for name in ("a", "b"):
        fit(small("logger=[wandb,tensorboard]", "trainer.max_steps=2"), RunFolder(tmp_path / name))
        assert wandb.run is None
        runs.append((tmp_path / name / "wandb/id").read_text())
        assert list((tmp_path / name / "wandb").glob("offline-run-*"))
        assert list((tmp_path / name / "tensorboard").rglob("events*"))
        assert (tmp_path / name / "metrics.csv").is_file()
    assert runs[0] != runs[1]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


def records(folder: Path) -> dict[str, list[Any]]:
    """What the offline run in the folder holds, by kind."""
    from khasr.study.wandb_files import _records

    found: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in _records(path):
            kind = record.WhichOneof("record_type")
            found.setdefault(kind, []).append(getattr(record, kind))
    return found


def test_wandb_holds_metrics_instruments_options_a_table_with_audio_and_the_checkpoint_if_asked(
    small: Small, tmp_path: Path
) -> None:
    from khasr.study.wandb_files import read_offline

    fit(small("logger=wandb", "logger.wandb.log_checkpoint=true", "score_test=false"), RunFolder(tmp_path))
    run = read_offline(list(tmp_path.glob("wandb/offline-run-*")))
    assert run.status == "completed"
    assert (run.options["optimizer.lr"], run.options["data.name"]) == (2e-3, "folder")
    columns = set().union(*run.rows)
    assert {"val/wer", "val/cer", "train/loss", "train/lr", "train/blank_share", "train/padding_share"} <= columns
    assert {"grad_norm/layer_00", "update_ratio/head", "drift/head", "time/forward"} <= columns
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/utterances*.table.json")
    held = json.loads(table.read_text(encoding="utf-8"))
    assert held["columns"] == ["id", "part", "reference", "hypothesis", "edits", "seconds", "audio"]
    with (tmp_path / "hypotheses.tsv").open(encoding="utf-8", newline="") as file:
        mine = {row["id"]: row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    assert len(held["data"]) == len(mine) == 8  # no more are in val
    for id_, part, reference, hypothesis, edits, _, audio in held["data"]:
        assert (part, reference, hypothesis) == ("val", mine[id_]["reference"], mine[id_]["hypothesis"])
        assert (edits, audio) == (int(mine[id_]["edits"]), "Audio")
    held = records(tmp_path)
    files = {c.path: Path(c.local_path) for artifact in held["artifact"] for c in artifact.manifest.contents}
    assert all(path.is_relative_to(tmp_path) for path in files.values())  # all that is still to be sent
    assert files["best.ckpt"].read_bytes() == (tmp_path / "checkpoints/best.ckpt").read_bytes()
    recordings = [soundfile.read(path) for name, path in files.items() if name.endswith(".wav")]
    assert sorted(len(samples) / rate for samples, rate in recordings) == sorted(
        float(r["seconds"]) for r in mine.values()
    )
    for samples, rate in recordings:
        assert rate == 16_000
        assert 0.1 < abs(samples).max() < 0.9  # as recorded, not standardised
    wers = [row["val/wer"] for row in run.rows if "val/wer" in row]
    told = [u.value_json for s in held["summary"] for u in s.update if "val/wer" in (u.key, *u.nested_key)]
    assert float(told[-1]) == min(wers)


@pytest.mark.parametrize(("signum", "preempted"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_preempted_run_is_marked_as_such_and_one_that_the_agent_stops_is_not(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int, preempted: bool
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=signal.Signals(signum).name):
        stop_after(patch, 4, signum)
        fit(small("logger=wandb"), RunFolder(tmp_path))
    assert read_results(tmp_path)["status"] == "interrupted"
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    held = records(tmp_path)
    assert ("preempting" in held) == preempted
    assert held["exit"][-1].exit_code == 1
    config = small("logger=wandb")
    config.resume = str(tmp_path)
    assert fit(config, RunFolder(tmp_path))["train"]["steps"] == 6
    assert len({r.run_id for r in records(tmp_path)["run"]}) == 1


def test_wandb_that_cannot_be_told_of_a_preemption_does_not_take_the_place_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from khasr.training import loggers as metrics

    class Unreachable:
        @property
        def experiment(self) -> None:
            raise ConnectionError("no route")

    monkeypatch.setattr(metrics, "WandbLogger", Unreachable)
    metrics.mark_preempting([Unreachable()])  # type: ignore[list-item]
    assert "no route" in capsys.readouterr().err


def test_a_scored_run_is_completed_though_wandb_fails_at_its_end(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from khasr.training import loggers as metrics

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    finish = metrics.wandb.finish
    for place, name in ((metrics.wandb, "Audio"), (metrics.wandb.Artifact, "add_file"), (metrics.wandb, "finish")):
        monkeypatch.setattr(place, name, unreachable)
    changes = ["logger=wandb", "logger.wandb.log_checkpoint=true", "trainer.max_steps=2", "score_test=false"]
    assert fit(small(*changes), RunFolder(tmp_path))["status"] == "completed"
    finish()
    assert read_results(tmp_path)["val"]["utterances"] == 8
    told = [line for line in capsys.readouterr().err.splitlines() if "no route" in line]
    assert [line.split(":")[0] for line in told] == [
        f"wandb was not told {what}" for what in ("the table of utterances", "the weights", "that the run ended")
    ]


@pytest.mark.parametrize("sweep", [None, "s"])
def test_only_a_sweep_s_agent_names_wandb_s_run(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: str | None
) -> None:
    from khasr.training.loggers import build_loggers, close_loggers

    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    if sweep:
        monkeypatch.setenv("WANDB_SWEEP_ID", sweep)
    # Closed: a run of wandb's that is left open is the one that the next test is given.
    close_loggers(build_loggers(small("logger=wandb"), RunFolder(tmp_path)), succeeded=True)
    assert ((tmp_path / "wandb" / "id").read_text() == "mine") == bool(sweep)


def test_checkpoints_load_weights_only_and_the_best_has_no_optimizer(finished: Path) -> None:
    best = torch.load(finished / "checkpoints/best.ckpt", weights_only=True)
    last = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)
    assert "optimizer_states" not in best
    assert last["optimizer_states"]
    assert best["khasr"]["symbols"][0] == "<blank>"
    assert np.isfinite(best["state_dict"]["model.head.weight"].numpy()).all()


def test_no_srun_hint_where_slurm_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_module.shutil, "which", lambda name: f"/usr/bin/{name}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        slurm_module.SLURMEnvironment._validate_srun_used()
        assert "srun" in str(caught[-1].message)
        fit_module._quieten()
        slurm_module.SLURMEnvironment._validate_srun_used()
    assert len(caught) == 1
