"""Whole runs, small: the files they write, how they end, and what they refuse."""

import csv
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning_fabric.plugins.environments import slurm as slurm_module

from khasr.config import from_plain, to_config
from khasr.run.folder import RunFolder
from khasr.scoring.error_rates import word_edits
from khasr.training import fit as fit_module
from khasr.training import module as module_of_training
from khasr.training.callbacks import Diverged
from khasr.training.checkpoints import Checkpoints
from khasr.training.fit import fit
from khasr.training.module import CtcModule
from tests.small_runs import RANDOM, Small, read_results, read_rows


def test_run_folder_files(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert names == {
        "config.yaml", "metrics.csv", "hypotheses.tsv", "checkpoints", "results.json", "split.tsv"
    }  # fmt: skip
    assert {p.name for p in (finished / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "start.ckpt"}
    to_config(from_plain(yaml.safe_load((finished / "config.yaml").read_text(encoding="utf-8"))))


def test_results_json(finished: Path) -> None:
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
        "lr_area", "left_blank_at_step", "skipped_share", "padding_share", "audio_seconds_per_update", "time", "hours",
        "planned_steps",
    }  # fmt: skip
    assert train["steps"] == train["planned_steps"] == 6
    assert train["epochs"] == pytest.approx(6 / 7)  # 28 utterances, 4 a batch
    assert train["audio_seconds"] > 0
    assert 0 < train["peak_memory_gib"] < 24


def test_hypotheses_match_results(finished: Path) -> None:
    with (finished / "hypotheses.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert list(rows[0])[:5] == ["id", "reference", "hypothesis", "edits", "seconds"]
    for part in ("val", "test"):
        mine = [row for row in rows if row["part"] == part]
        edits = sum(word_edits(row["reference"], row["hypothesis"]).total for row in mine)
        assert edits == sum(int(row["edits"]) for row in mine)
        words = sum(len(row["reference"].split()) for row in mine)
        assert read_results(finished)[part]["wer"] == pytest.approx(edits / words)


def test_metrics_rows(small: Small, tmp_path: Path) -> None:
    """Training and validation have rows, and the last step is validated."""
    fit(small("trainer.max_steps=7", "trainer.val_every_steps=3"), RunFolder(tmp_path))
    rows = read_rows(tmp_path)
    assert [int(r["step"]) for r in rows if r["val/wer"]] == [3, 6, 7]
    assert [int(r["step"]) for r in rows if r["train/loss"]] == [2, 4, 6]
    assert float(rows[0]["train/lr"]) > 0


def test_test_symbols_not_read(small: Small, tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Symbols of the test part are counted only with score_test=true."""
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


def test_test_part_not_scored(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_learns(small: Small, tmp_path: Path) -> None:
    """Tones are easy: the loss falls to a fraction, and something is recognised."""
    changes = ["trainer.max_steps=150", "trainer.val_every_steps=50", "optimizer.lr=5e-3", "data.augment.speed=[]"]
    results = fit(small(*changes), RunFolder(tmp_path))
    rows = read_rows(tmp_path)
    losses = [float(r["train/loss"]) for r in rows if r["train/loss"]]
    assert losses[-1] < 0.5 * losses[2]
    assert results["val"]["cer"] < 0.6


@pytest.mark.picture
def test_nonfinite_loss(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends as diverged, and the message names the utterances."""
    step, losses = CtcModule.training_step, module_of_training.ctc_losses
    seen = {"batches": 0}

    def counted(self: CtcModule, batch: Any, batch_idx: int) -> torch.Tensor:
        seen["batches"] = batch_idx + 1
        return step(self, batch, batch_idx)

    def spoiled(*arguments: torch.Tensor) -> torch.Tensor:
        return losses(*arguments) * (math.nan if seen["batches"] > 5 else 1)

    monkeypatch.setattr(CtcModule, "training_step", counted)
    monkeypatch.setattr(module_of_training, "ctc_losses", spoiled)
    with pytest.raises(Diverged, match=r"3 batches in a row.*optimizer\.lr.*audio/u0"):
        fit(small("trainer.nonfinite_patience=3", "trainer.max_steps=20"), RunFolder(tmp_path))
    results = read_results(tmp_path)
    assert results["status"] == "diverged"
    assert results["train"]["steps"] == 8  # found when a row is due
    last = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(weight.isfinite().all() for weight in last.values()), "steps without a finite gradient are skipped"
    assert (tmp_path / "learning_curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_failed_run(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug ends the run as failed, with its traceback in the folder."""

    def broken(*_: Any) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr(Checkpoints, "on_validation_end", broken)
    with pytest.raises(KeyError):
        fit(small(), RunFolder(tmp_path))
    assert read_results(tmp_path)["status"] == "failed"
    assert "no such thing" in (tmp_path / "traceback.txt").read_text()


def test_fp16_on_cpu(small: Small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fp16 needs a GPU.*precision=fp32"):
        fit(small("precision=fp16", "trainer.accelerator=cpu"), RunFolder(tmp_path))


def test_checks_before_corpus(small: Small, tmp_path: Path) -> None:
    """Options that cannot work are refused before the corpus is read."""
    for change, message in {"decoder=beam_lm": "set together", "trainer.accelerator=gpu": "no GPU"}.items():
        if message == "no GPU" and torch.cuda.is_available():
            continue
        with pytest.raises(ValueError, match=message):
            fit(small(change, "data.root=/absent"), RunFolder(tmp_path / "run"))


def test_bf16(small: Small, tmp_path: Path) -> None:
    results = fit(small("precision=bf16", "trainer.max_steps=2"), RunFolder(tmp_path))
    assert math.isfinite(float(read_rows(tmp_path)[0]["train/loss"]))
    assert results["status"] == "completed"


def test_gradient_checkpointing(small: Small, tmp_path: Path) -> None:
    """Recomputed activations give the same weights."""
    for name in ("true", "false"):
        fit(small(*RANDOM, f"model.gradient_checkpointing={name}"), RunFolder(tmp_path / name))
    ours, theirs = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("true", "false")
    )
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-6, rtol=1e-4)


def test_folder_of_other_run(finished: Path, small: Small) -> None:
    """A new run does not overwrite the checkpoints of an existing one."""
    before = read_results(finished)
    with pytest.raises(ValueError, match=r"already contains a run.*resume="):
        fit(small(), RunFolder(finished))
    assert read_results(finished) == before


def test_faulty_utterances(small: Small, tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Faulty utterances stop the run, or are left out and counted."""
    import shutil

    root = tmp_path / "corpus"
    shutil.copytree(corpus, root)
    (root / "audio/u003.wav").unlink()
    (root / "audio/u005.wav").write_bytes(b"not audio")
    with pytest.raises(ValueError, match=r"utterances\.tsv:5: audio/u003\.wav is not a file.*1 of 40.*on_error=skip"):
        fit(small(f"data.root='{root}'"), RunFolder(tmp_path / "a"))
    fit(small(f"data.root='{root}'", "data.on_error=skip"), RunFolder(tmp_path / "b"))
    out = capsys.readouterr().out
    assert "left out: 1 utterance, no audio" in out
    assert "left out: 1 utterance, unreadable audio" in out


def test_checkpoint_contents(finished: Path) -> None:
    """Checkpoints load with weights_only, and best.ckpt has no optimizer states."""
    best = torch.load(finished / "checkpoints/best.ckpt", weights_only=True)
    last = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)
    assert "optimizer_states" not in best
    assert last["optimizer_states"]
    assert best["khasr"]["symbols"][0] == "<blank>"
    assert np.isfinite(best["state_dict"]["model.head.weight"].numpy()).all()


def test_no_srun_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's hint about srun is silenced where Slurm is installed."""
    monkeypatch.setattr(slurm_module.shutil, "which", lambda name: f"/usr/bin/{name}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        slurm_module.SLURMEnvironment._validate_srun_used()
        assert "srun" in str(caught[-1].message)
        fit_module._quieten()
        slurm_module.SLURMEnvironment._validate_srun_used()
    assert len(caught) == 1
