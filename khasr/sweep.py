"""Runs a wandb sweep file without wandb, as a Hydra sweep of khasr.train.

python -m khasr.sweep sweeps/h1_lr.yaml data.root=km_kh_male.zip            every combination, in sequence
python -m khasr.sweep sweeps/why_1b.yaml --trials 40                        a search, by Optuna's TPE
python -m khasr.sweep sweeps/h1_lr.yaml seed=1 hydra/launcher=joblib        only seed 1, runs in parallel
"""

import argparse
import shlex
import sys
from pathlib import Path

from khasr.cli.multirun.wandb_file import read_sweep
from khasr.cli.run import guarded, run
from khasr.training.task import train


def main(arguments: list[str] | None = None) -> int:
    """Runs the sweep, or continues it; exits as khasr.train does."""
    options = _parser().parse_intermixed_args(arguments)  # overrides may come before and after --trials
    words = read_sweep(options.file, options.overrides, options.trials)
    print(f"python -m khasr.train {shlex.join(words)}", flush=True)
    if not options.dry_run:
        run("train", train, arguments=words)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a sweep file in the format of `wandb sweep`")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="an override of khasr.train, which takes precedence over FILE"
    )
    parser.add_argument("--trials", type=int, help="number of runs of a search (default: the file's run_cap)")
    parser.add_argument("--dry-run", action="store_true", help="only print the command of khasr.train")
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
