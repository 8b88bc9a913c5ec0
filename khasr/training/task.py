"""The task of `python -m khasr.train` and of the sweeps that khasr.sweep starts. Imports torch only when it runs."""

import contextlib
import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from khasr.cli.resume import quote
from khasr.config import Config


def train(config: Config, folder: Path) -> float | None:
    """Trains a run in the folder and returns its WER on val, as a fraction, which sweepers minimise.

    On several devices only the first process scores; the others return None, as does a run that is only planned.
    """
    # Imported here because torch takes seconds, and a mistyped option should be reported at once.
    from khasr.run.folder import RunFolder
    from khasr.run.interrupts import Interrupted
    from khasr.training.fit import fit

    if config.trainer.plan is not None:
        from khasr.training.plan import print_plan

        with contextlib.suppress(OSError):
            folder.rmdir()  # Hydra has made it; only if nothing is in it
        print_plan(config, config.trainer.plan)
        return None
    try:
        results = fit(config, RunFolder(folder))
    except Interrupted:
        if RunFolder(folder).last.is_file():
            again = shlex.join([f"resume={folder if _is_plain(str(folder)) else quote(str(folder))}"])
            print(f"Stopped. Resume with: python -m khasr.train {again}", file=sys.stderr)
        else:
            print("Stopped before the first checkpoint: there is nothing to resume.", file=sys.stderr)
        raise
    if results and HydraConfig.initialized() and HydraConfig.get().mode is RunMode.RUN:
        run = str(folder) if _is_plain(str(folder)) else "RUN"
        print(
            f"\nNext: python -m khasr.prepare run={run} (wrong transcripts), python -m khasr.transcribe {run} AUDIO, "
            f"python -m khasr.evaluate run={run} part=test, python -m khasr.export {run} --out DIR"
        )
    return float(results["val"]["wer"]) if results else None


def _is_plain(path: str) -> bool:
    """Whether the path needs no quotes in Hydra's grammar."""
    return path.isascii() and all(c.isalnum() or c in "/_-." for c in path)
