"""Tunes a run's decoder on val: alpha, beta, the unknown words' penalty and pruning.

python -m khasr.tune run=RUN lm=LM          writes RUN/decoder.yaml, which evaluate and transcribe use from then on
"""

from pathlib import Path

from khasr.config import TuneConfig
from khasr.door import run
from khasr.run_options import root_of_run


def tune(config: TuneConfig, folder: Path) -> float:
    """Tunes and returns the WER on val, as a fraction."""
    from khasr.scoring.tuning import tune_run  # torch takes seconds to import

    return tune_run(config)


if __name__ == "__main__":
    run("tune", tune, root_of_run("tune"))
