"""Trains 20 steps with each feature that needs a GPU and prints a table: `make gpu-check`.

Each is a separate `python -m khasr.train` of the tiny model on synthetic phrases: fp16,
bf16, bf16_true, the 8-bit optimizer, and, with two GPUs or more, DDP and FSDP.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

SHORT = [
    "experiment=quickstart", "data.utterances=120", "trainer.max_steps=20", "trainer.val_every_steps=20",
    "trainer.log_every_steps=5", "trainer.progress_bar=false", "score_test=false",
]  # fmt: skip
ONE = {
    "fp32": ["precision=fp32"],
    "fp16": ["precision=fp16"],
    "bf16": ["precision=bf16"],
    "bf16_true": ["precision=bf16_true"],
    "adamw_8bit": ["precision=bf16", "optimizer=adamw_8bit"],
    "recomputing": ["precision=bf16", "model.gradient_checkpointing=true"],
}
SEVERAL = {
    "ddp": ["precision=bf16", "trainer=ddp"],
    "fsdp": ["precision=bf16", "trainer=fsdp"],
}


def run(overrides: list[str], folder: Path) -> dict[str, Any]:
    """The results of one run; `error` is the last line that a failed run printed."""
    command = [
        sys.executable,
        "-m",
        "khasr.train",
        *SHORT,
        "trainer.accelerator=gpu",
        *overrides,
        f"hydra.run.dir='{folder}'",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    results = folder / "results.json"
    found: dict[str, Any] = (
        json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {"status": "no run"}
    )
    if done.returncode:
        found["error"] = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return found


def main() -> int:
    """Prints the table; exits with 1 if there is no GPU or a run failed."""
    console = Console(highlight=False, markup=False)
    if not torch.cuda.is_available():
        console.print("torch finds no GPU; nothing was checked.")
        return 1
    gpus = torch.cuda.device_count()
    table = Table(
        title=f"20 steps each on {gpus} x {torch.cuda.get_device_name()}", box=box.SIMPLE_HEAD, title_justify="left"
    )
    for column in ("what", "status", "steps", "val loss is finite", "s of audio/s", "peak GiB", "message"):
        table.add_column(column)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, overrides in (ONE | (SEVERAL if gpus > 1 else {})).items():
            found = run(overrides, Path(folder) / name)
            train, val = found.get("train") or {}, found.get("val") or {}
            good = found["status"] == "completed" and train.get("steps") == 20 and val.get("cer", -1) >= 0
            failed += not good
            table.add_row(
                name, found["status"], str(train.get("steps", "")), "yes" if good else "no",
                f"{train.get('audio_seconds_per_second', 0):.0f}", f"{train.get('peak_memory_gib', 0):.1f}",
                found.get("error", ""),
            )  # fmt: skip
    console.print(table)
    if gpus == 1:
        console.print("DDP and FSDP were not run: they need two GPUs.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
