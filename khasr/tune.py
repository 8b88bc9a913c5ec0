"""Tunes a run's decoder on val: the weights of the language model and pruning.

python -m khasr.tune run=RUN lm=LM          writes RUN/decoder.yaml, which evaluate and transcribe then use
"""

from pathlib import Path

from khasr.cli.run import run
from khasr.cli.run_options import root_of_run
from khasr.config import TuneConfig


def tune(config: TuneConfig, folder: Path) -> float:
    """Tunes the decoder; returns its WER on val, as a fraction."""
    from khasr.inference.tuning import tune_run

    return tune_run(config)


if __name__ == "__main__":
    run("tune", tune, root_of_run("tune"))
