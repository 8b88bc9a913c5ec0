"""Runs a wandb sweep file without wandb: its parameters as a Hydra sweep of khasr.train.

python -m khasr.sweep sweeps/h1_lr.yaml data.root=km_kh_male.zip            every combination, one after the other
python -m khasr.sweep sweeps/why_1b.yaml --trials 40                        Optuna's TPE in place of wandb's Bayes
python -m khasr.sweep sweeps/h1_lr.yaml seed=1 hydra/launcher=joblib        other values, two runs at once
"""

import argparse
import shlex
import sys
from pathlib import Path

from khasr.cli.multirun.wandb_file import hydra_words
from khasr.cli.run import guarded, run
from khasr.train import train


def main(arguments: list[str] | None = None) -> int:
    """Runs the sweep, or goes on with it; exits as khasr.train does."""
    options = _parser().parse_intermixed_args(arguments)  # overrides stand before and after --trials
    words = hydra_words(options.file, options.overrides, options.trials)
    print(f"python -m khasr.train {shlex.join(words)}", flush=True)
    if not options.dry_run:
        sys.argv = ["khasr.train", *words]
        run("train", train)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a sweep file as `wandb sweep` takes it")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of khasr.train or Hydra; beats the file's")
    parser.add_argument("--trials", type=int, help="runs of a search (default: the file's run_cap)")
    parser.add_argument("--dry-run", action="store_true", help="only print the command of khasr.train")
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
