"""A replacement for khasr.train that does not import torch and writes the files of a run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import Commands

ROOT = Path(__file__).resolve().parents[3]
# WER is optimizer.lr; the seed determines how a run ends; each start of a run adds a line to `starts`.
STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
import yaml
from khasr.config import to_plain
from khasr.cli.run import run
from khasr.run.interrupts import Interrupted, StopSignals

def task(config, folder):
    (folder / "checkpoints").mkdir(exist_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    assert last.is_file() == (config.resume is not None)
    with (folder / "starts").open("a") as file:
        print(config.resume or "", file=file)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_plain(config)))
    results = {"status": "interrupted", "val": None}
    try:
        with StopSignals() as stop:
            stop.training = True
            step = int(last.read_text()) if last.is_file() else 0
            while step < config.trainer.max_steps:
                time.sleep(0.05)
                step += 1
                if step == int(os.environ.get("BUDGET_ENDS_AT", "0")):
                    os.kill(os.getpid(), signal.SIGALRM)
                if stop.requested is not None:
                    last.write_text(str(step))
                    raise Interrupted(stop.requested)
        if config.seed == 13:
            raise RuntimeError("unlucky")
        if config.seed == 7:
            results["status"] = "diverged"
            raise RuntimeError("not finite")
        if config.seed == 666:
            os.kill(os.getpid(), signal.SIGKILL)
        results |= {"status": "completed", "val": {"wer": config.optimizer.lr}}
        return config.optimizer.lr
    except RuntimeError:
        if config.seed == 13:
            results["status"] = "failed"
        raise
    finally:
        (folder / "results.json").write_text(json.dumps(results))

if __name__ == "__main__":
    run("train", task)
"""
QUICK = ["trainer.max_steps=1", "model=tiny"]


LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
}


@pytest.fixture
def start(light_command: Commands, tmp_path: Path) -> Any:
    """Starts the stand-in's sweep in the folder `sweep`."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")

    def run(*words: str, code: int = 0, whole: bool = False, **environment: str) -> "subprocess.CompletedProcess[str]":
        words = ("-m", *QUICK, "hydra.sweep.dir=sweep", *words)
        if whole:  # interpreters, as for a user
            done = subprocess.run(
                [sys.executable, str(script), *words],
                cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
                check=False,
            )  # fmt: skip
        else:
            done = light_command("stand_in", *words, cwd=tmp_path, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def runs(tmp_path: Path) -> dict[float, tuple[str, int]]:
    """Status and number of starts of each run, by its WER, which is the lr."""
    found = {}
    for folder in (tmp_path / "sweep").iterdir():
        if (folder / "results.json").is_file():
            lr = yaml.safe_load((folder / "config.yaml").read_text())["optimizer"]["lr"]
            starts = (folder / "starts").read_text().count("\n") if (folder / "starts").is_file() else 0
            found[lr] = (json.loads((folder / "results.json").read_text())["status"], starts)
    return found
