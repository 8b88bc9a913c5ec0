"""Reading runs: folders in every state, offline folders of wandb and its exported table."""

import json
from pathlib import Path

import pandas as pd
import pytest
import wandb
import yaml

from khasr.study.runs import Runs, lr_areas, read_runs, without_formulas
from khasr.study.wandb_files import read_export, read_offline

METRICS = "step,train/lr,train/audio_seconds,val/wer,val/cer\n10,0.001,50,,\n20,0.001,100,0.9,0.4\n30,0.0,150,0.5,0.2\n"


def write_run(folder: Path, **results: object) -> Path:
    folder.mkdir(parents=True)
    config = {"model": {"name": "tiny"}, "optimizer": {"lr": 1e-3, "betas": [0.9, 0.98]}, "seed": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "metrics.csv").write_text(METRICS, encoding="utf-8")
    known = {"status": "completed", "model": "tiny", "seed": 1, "val": {"wer": 0.4, "cer": 0.1}, "test": None}
    known["train"] = {"steps": 30, "parameters": 1000, "audio_seconds": 150.0, "seconds": 9.0}
    (folder / "results.json").write_text(json.dumps(known | results), encoding="utf-8")
    return folder


def row(runs: Runs, name: str) -> pd.Series:
    return runs.table.set_index("run").loc[name]


def test_run_folder(tmp_path: Path) -> None:
    """A row with its options and scores, its curves and its hypotheses."""
    folder = write_run(tmp_path / "sweep" / "0")
    header = "id\treference\thypothesis\tedits\tseconds\tpart\n"
    (folder / "hypotheses.tsv").write_text(header + 'u1\tក "ខ\tក\t1\t1.000\tval\nu2\tcut\n', encoding="utf-8")
    runs = read_runs([tmp_path])
    found = row(runs, "sweep/0")
    assert (found["status"], found["wer"], found["cer"], found["steps"]) == ("completed", 0.4, 0.1, 30)
    assert (found["optimizer.lr"], found["optimizer.betas"], found["seed"]) == (1e-3, "[0.9, 0.98]", 1)
    assert found["lr_area"] == pytest.approx(10 * 0.0005 + 10 * 0.001 + 10 * 0.0005)
    assert found["flops"] == 6 * 1000 * 150 * 50
    assert runs.hypotheses.iloc[0].to_dict() == {
        "run": "sweep/0", "part": "val", "id": "u1", "speaker": "", "reference": 'ក "ខ', "hypothesis": "ក", "edits": 1, "words": 2,
        "seconds": 1.0,
    }  # fmt: skip
    assert any("1 line without the columns of the header" in note for note in runs.notes)
    wers = runs.curves[runs.curves["metric"] == "val/wer"]
    assert list(zip(wers["step"], wers["value"], strict=True)) == [(20, 0.9), (30, 0.5)]


def test_damaged_runs(tmp_path: Path) -> None:
    """Each is a row with its status, and what could not be read is in the notes."""
    write_run(tmp_path / "diverged", status="diverged", val=None, error="Diverged: not finite")
    write_run(tmp_path / "odd", status="exploded")
    (write_run(tmp_path / "killed") / "results.json").unlink()
    (write_run(tmp_path / "cut") / "results.json").write_text('{"status": "comp', encoding="utf-8")
    (write_run(tmp_path / "listed") / "config.yaml").write_text("- 1\n", encoding="utf-8")
    runs = read_runs([tmp_path])
    assert len(runs.table) == 5
    assert row(runs, "diverged")["status"] == "diverged"
    assert row(runs, "diverged")["wer"] == 0.5  # the lowest of its validations
    assert row(runs, "killed")["status"] == "failed"
    assert row(runs, "odd")["status"] == "failed"
    for name in ("cut", "listed"):
        assert row(runs, name)["status"] == "unreadable"
    assert sum("exploded" in n or "cut" in n or "listed" in n for n in runs.notes) == 3


def test_written_tables(tmp_path: Path) -> None:
    for i in range(3):
        write_run(tmp_path / "runs" / str(i), status="failed" if i else "completed", error="x" if i else None)
    runs = read_runs([tmp_path / "runs"])
    written = runs.write(tmp_path)
    assert [p.name for p in written] == ["runs.parquet", "runs.csv", "curves.parquet", "curves.csv"]
    parquet, csv = pd.read_parquet(written[0]), pd.read_csv(written[1])
    assert list(parquet["wer"]) == list(csv["wer"]) == [0.4] * 3
    assert list(parquet["status"]) == ["completed", "failed", "failed"]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"),
        ("-0.5", "-0.5"), ("+1e-3", "+1e-3"), (-0.5, -0.5), ("a=b", "a=b"), ("", ""), (None, None),
    ],
)  # fmt: skip
def test_formulas(cell: object, written: object) -> None:
    """No text of an exported table is a formula in a spreadsheet; numbers stay numbers."""
    found = without_formulas(pd.DataFrame({"=a": [cell]}, dtype=object))
    assert list(found.columns) == ["'=a"]
    assert found.iloc[0, 0] == written


def test_sizes_of_one_name(tmp_path: Path) -> None:
    """Models of one name and several sizes have the size in their labels."""
    for i, parameters in enumerate((1_200_000, 1_203_000, 4_800_000)):
        write_run(
            tmp_path / str(i), train={"steps": 30, "parameters": parameters, "audio_seconds": 1.0, "seconds": 1.0}
        )
    assert list(read_runs([tmp_path]).table["model"]) == ["tiny 1.2M", "tiny 1.2M", "tiny 4.8M"]


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No run in .* Expected folders with a results.json"):
        read_runs([tmp_path])
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a table exported from wandb"):
        read_runs([tmp_path / "a.csv"])


def test_lr_area() -> None:
    rows = [{"step": float(s), "train/lr": s / 100} for s in range(1, 101)]
    assert lr_areas(rows)[-1][1] == pytest.approx(sum(r["train/lr"] for r in rows), rel=0.02)


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An offline run of wandb with a value long enough to span several blocks of its file."""
    folder = tmp_path_factory.mktemp("offline")
    config = {"model": {"name": "tiny", "architecture": {"layers": 2, "hidden_size": 8, "intermediate_size": 16}}}
    config |= {"optimizer": {"lr": 1e-3, "betas": [0.9, 0.98]}, "seed": 3, "note": "x" * 100_000}
    settings = wandb.Settings(console="off", silent=True)
    run = wandb.init(mode="offline", dir=str(folder), config=config, name="mine", settings=settings)
    for step in (10, 20, 30):
        run.log({"train/lr": 1e-3, "train/audio_seconds": 5.0 * step, "trainer/global_step": step})
        run.log({"val/wer": 1 - step / 50, "trainer/global_step": step})
    run.finish()
    wandb.teardown()  # its service writes the last block at its end
    return folder


def test_offline_run(offline: Path) -> None:
    runs = read_runs([offline])
    assert len(runs.table) == 1
    found = runs.table.iloc[0]
    assert (found["status"], found["optimizer.lr"], found["optimizer.betas"]) == ("completed", 1e-3, "[0.9, 0.98]")
    assert (found["seed"], found["steps"], found["audio_seconds"]) == (3, 30, 150)
    assert found["wer"] == pytest.approx(0.4)
    assert found["parameters"] == 2 * (4 * 64 + 2 * 8 * 16)


def test_truncated_offline_run(offline: Path, tmp_path: Path) -> None:
    """It is interrupted; a file that is not wandb's is unreadable."""
    whole = next(offline.rglob("run-*.wandb"))
    folder = tmp_path / "offline-run-20260101_000000-abc"
    folder.mkdir()
    data = whole.read_bytes()
    (folder / "run-abc.wandb").write_bytes(data[: len(data) - 300])
    run = read_offline([folder])
    assert run.status == "interrupted"
    assert run.options["optimizer.lr"] == 1e-3
    (folder / "run-abc.wandb").write_bytes(b"something else")
    assert list(read_runs([tmp_path]).table["status"]) == ["unreadable"]


def test_run_folder_with_wandb(offline: Path, tmp_path: Path) -> None:
    """A run with a run folder and an offline folder is read once."""
    run = write_run(tmp_path / "run")
    inside = next(offline.rglob("offline-run-*"))
    (run / "wandb").mkdir()
    (run / "wandb" / inside.name).symlink_to(inside)
    (run / "wandb" / "id").write_text(inside.name.rsplit("-", 1)[-1])
    assert list(read_runs([tmp_path, offline]).table["source"]) == ["folder"]


def test_exported_table(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(
        '"Name","State","Notes","Created","optimizer.lr","model.name","seed","val/wer","trainer/global_step"\n'
        '"a","finished","-","2026-01-01","0.001","tiny","1","0.31","400"\n'
        '"b","crashed","-","2026-01-01","0.003","tiny","2","",""\n'
        '"c","failed","-","2026-01-01","0.003","tiny","3","NaN","10"\n'
    )
    assert [r.status for r in read_export(path)] == ["completed", "interrupted", "failed"]
    table = read_runs([path]).table
    assert list(table["optimizer.lr"]) == [0.001, 0.003, 0.003]
    assert table["wer"].iloc[0] == 0.31
    assert table["wer"].isna().sum() == 2
