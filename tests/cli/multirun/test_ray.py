"""Sweeps with the Ray launcher; skipped where the extra `ray` is not installed."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.multirun.conftest import QUICK, ROOT, STAND_IN, runs

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")
# Each sweep starts a separate Ray, with one CPU and two GPUs that do not exist.
LAUNCHER = [
    "hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=1", "+hydra.launcher.ray.init.num_gpus=2",
    "+hydra.launcher.ray.init.include_dashboard=false", "+hydra.launcher.ray.init._node_ip_address=127.0.0.1",
    "+hydra.launcher.ray.init.object_store_memory=100000000", "+hydra.launcher.ray.remote.max_retries=0",
]  # fmt: skip


def sweep(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Starts the stand-in's sweep in `folder`."""
    script = folder / "stand_in.py"
    # Each run also notes which GPUs it sees.
    noting = """    (folder / "gpus").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))\n    results = """
    script.write_text(STAND_IN.replace("    results = ", noting, 1), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), "-m", *QUICK, "hydra.sweep.dir=sweep", *words],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_outcomes(tmp_path: Path) -> None:
    """Completed, failing, diverging and killed runs are counted; the others continue."""
    process = sweep(tmp_path, *LAUNCHER, "optimizer.lr=0.1,0.2", "seed=1,13,7,666")
    printed = process.communicate(timeout=240)[0]
    assert process.returncode == 1, printed
    assert "8 runs in sweep: 2 completed, 4 failed, 2 diverged" in printed
    assert printed.count("A process of the sweep ended unexpectedly") == 2
    assert "WorkerCrashedError" not in printed


def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C saves the running job and begins no other; the same command continues the sweep."""
    words = [*LAUNCHER, "optimizer.lr=0.1,0.2", "trainer.max_steps=60"]
    process = sweep(tmp_path, *words)
    while not list(tmp_path.glob("sweep/*/starts")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 130, printed
    assert "2 runs in sweep: 1 interrupted, 1 not begun" in printed
    assert "Traceback" not in printed
    (last,) = tmp_path.glob("sweep/*/checkpoints/last.ckpt")
    last.write_text("59")
    process = sweep(tmp_path, *words)
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 0, printed
    assert {status for status, _ in runs(tmp_path).values()} == {"completed"}
    assert sorted(starts for _, starts in runs(tmp_path).values()) == [1, 2]


def test_gpus(tmp_path: Path) -> None:
    """With remote.num_gpus=1 each of two runs at the same time has one of the two GPUs."""
    half = ["+hydra.launcher.ray.remote.num_cpus=0.5", "+hydra.launcher.ray.remote.num_gpus=1"]
    process = sweep(tmp_path, *LAUNCHER, *half, "optimizer.lr=0.1,0.2", "trainer.max_steps=40")
    printed = process.communicate(timeout=240)[0]
    assert process.returncode == 0, printed
    assert sorted(path.read_text() for path in tmp_path.glob("sweep/*/gpus")) == ["0", "1"]
