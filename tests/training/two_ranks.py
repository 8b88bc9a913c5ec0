"""Two processes, each a rank, that train with FSDP on a CPU: python -m tests.training.two_ranks FOLDER OVERRIDE...

Trains FOLDER/whole and FOLDER/stopped, the second stopped by a signal and resumed, and writes what is not in the folders
of the runs to FOLDER/RANK.json.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


def main() -> int:
    """Forks the second rank; both train."""
    folder, overrides = Path(sys.argv[1]), sys.argv[2:]
    ports = [_free_port() for _ in range(3)]
    child = os.fork()
    rank = "0" if child else "1"
    os.environ |= {
        "RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    code = 1
    try:
        _train(folder, overrides, rank, ports)
        code = 0
    finally:
        if not child:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or code


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@contextlib.contextmanager
def _together(folder: Path, rank: str, port: str) -> Iterator[None]:
    """The second rank waits until the first, which scores and writes, has ended a run."""
    os.environ["MASTER_PORT"] = port
    ended = folder / f"ended_{port}"
    yield
    if rank == "0":
        ended.touch()
    while not ended.is_file():
        time.sleep(0.01)


def _train(folder: Path, overrides: list[str], rank: str, ports: list[str]) -> None:
    from pytorch_lightning.utilities import rank_zero_only

    from khasr.config import compose
    from khasr.run.folder import RunFolder
    from khasr.run.interrupts import Interrupted
    from khasr.training import fit as fit_module
    from khasr.training import strategy
    from khasr.training.module import CtcModule
    from tests.training.cpu_fsdp import CpuFSDPStrategy, allow_cpu

    rank_zero_only.rank = int(rank)  # read from the environment when it was imported
    torch.set_num_threads(1)
    allow_cpu()
    strategy.FSDPStrategy = CpuFSDPStrategy  # type: ignore[attr-defined]
    fit_module.check_devices = lambda config: 2
    decayed: dict[str, Any] = {}
    configure = CtcModule.configure_optimizers
    step = CtcModule.training_step

    def looking(self: CtcModule) -> Any:
        found = configure(self)
        for group in found["optimizer"].param_groups if not (folder / "stopped").is_dir() else ():
            decay = str(group["weight_decay"])
            decayed[decay] = decayed.get(decay, 0) + len(group["params"])
        return found

    CtcModule.configure_optimizers = looking  # type: ignore[method-assign]
    with _together(folder, rank, ports[0]):
        fit_module.fit(compose(*overrides), RunFolder(folder / "whole"))

    def stopping(self: CtcModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if batch_idx == 3 and rank == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    CtcModule.training_step = stopping  # type: ignore[method-assign]
    stopped = ""
    with _together(folder, rank, ports[1]):
        try:
            fit_module.fit(compose(*overrides), RunFolder(folder / "stopped"))
        except Interrupted as error:
            stopped = str(error)
    CtcModule.training_step = step  # type: ignore[method-assign]
    config = compose(*overrides)
    config.resume = str(folder / "stopped")
    with _together(folder, rank, ports[2]):
        fit_module.fit(config, RunFolder(folder / "stopped"))
    (folder / f"{rank}.json").write_text(json.dumps({"decayed": decayed, "stopped": stopped}), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
