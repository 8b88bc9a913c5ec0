"""Runs logged to wandb, offline."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import wandb

from khasr.run.folder import RunFolder
from khasr.run.interrupts import Interrupted
from khasr.training import wandb_run
from khasr.training.fit import fit
from khasr.training.loggers import build_loggers, close_loggers
from tests.small_runs import Small, read_results, stop_after


def test_offline_without_key_in_files(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an account wandb works offline, is finished, and its key is in no file."""
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
    """The records of the offline run in the folder, by kind."""
    from khasr.study.wandb_files import read_records

    found: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in read_records(path):
            kind = record.WhichOneof("record_type")
            found.setdefault(kind, []).append(getattr(record, kind))
    return found


def test_logged_contents(small: Small, tmp_path: Path) -> None:
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
    assert all(path.is_relative_to(tmp_path) for path in files.values())  # everything that wandb still has to upload
    assert files["best.ckpt"].read_bytes() == (tmp_path / "checkpoints/best.ckpt").read_bytes()
    recordings = [soundfile.read(path) for name, path in files.items() if name.endswith(".wav")]
    assert sorted(len(samples) / rate for samples, rate in recordings) == sorted(
        float(r["seconds"]) for r in mine.values()
    )
    for samples, rate in recordings:
        assert rate == 16_000
        assert 0.1 < abs(samples).max() < 0.9  # as recorded, not standardised
    wers = [row["val/wer"] for row in run.rows if "val/wer" in row]
    logged = [u.value_json for s in held["summary"] for u in s.update if "val/wer" in (u.key, *u.nested_key)]
    assert float(logged[-1]) == min(wers)


@pytest.mark.parametrize(("signum", "preempted"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_mark_preempting(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int, preempted: bool
) -> None:
    """SIGUSR1 marks the run as preempting; SIGTERM, which wandb's agent sends, does not."""
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


def test_mark_preempting_unreachable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of wandb does not replace the interruption."""

    class Unreachable:
        @property
        def experiment(self) -> None:
            raise ConnectionError("no route")

    monkeypatch.setattr(wandb_run, "WandbLogger", Unreachable)
    wandb_run.mark_preempting([Unreachable()])  # type: ignore[list-item]
    assert "no route" in capsys.readouterr().err


def test_errors_at_the_end(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scored run is completed even if wandb fails afterwards."""

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    finish = wandb.finish
    for place, name in ((wandb, "Audio"), (wandb.Artifact, "add_file"), (wandb, "finish")):
        monkeypatch.setattr(place, name, unreachable)
    changes = ["logger=wandb", "logger.wandb.log_checkpoint=true", "trainer.max_steps=2", "score_test=false"]
    assert fit(small(*changes), RunFolder(tmp_path))["status"] == "completed"
    finish()
    assert read_results(tmp_path)["val"]["utterances"] == 8
    errors = [line for line in capsys.readouterr().err.splitlines() if "no route" in line]
    assert [line.split(": ")[1] for line in errors] == [
        f"{what} could not be logged" for what in ("the table of utterances", "the weights", "the end of the run")
    ]


@pytest.mark.parametrize("sweep", [None, "s"])
def test_run_id(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: str | None) -> None:
    """Only a sweep's agent sets the id of wandb's run."""
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    if sweep:
        monkeypatch.setenv("WANDB_SWEEP_ID", sweep)
    # Closed, because otherwise the next test would get this run of wandb.
    close_loggers(build_loggers(small("logger=wandb"), RunFolder(tmp_path)), succeeded=True)
    assert ((tmp_path / "wandb" / "id").read_text() == "mine") == bool(sweep)


@pytest.mark.parametrize("where", ["login", "init"])
def test_unreachable(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """With a key but no connection, the run is logged offline, and one line reports it."""
    init = wandb.init

    def unreachable(*_: object, **options: object) -> object:
        if options.get("mode") == "offline":
            return init(**options)  # type: ignore[arg-type]
        raise wandb.errors.CommError("no route\nto host")

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, where, unreachable)
    close_loggers(build_loggers(small("logger=wandb"), RunFolder(tmp_path)), succeeded=True)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "wandb" in line)
    assert "no route to host" in line
    assert "wandb sync" in line
    assert list((tmp_path / "wandb").glob("offline-run-*"))
