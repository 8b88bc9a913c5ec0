"""Computes WER and CER of a run or a Hugging Face CTC model with confidence intervals, or compares two of them.

python -m khasr.evaluate run=RUN part=test                     with its tuned decoder if there is one, else greedy
python -m khasr.evaluate run=RUN decoder=beam_lm decoder.lm=LM
python -m khasr.evaluate run=RUN against=OTHER part=test       the paired difference
python -m khasr.evaluate run=HF_DIR data=folder data.root=DIR part=all
"""

from pathlib import Path

from khasr.cli.run import run
from khasr.cli.run_options import root_of_run
from khasr.config import EvaluateConfig


def evaluate(config: EvaluateConfig, folder: Path) -> float:
    """Scores the model on a part of the corpus; returns the WER, as a fraction."""
    from khasr.inference.evaluation import evaluate as evaluate_run
    from khasr.run.folder import RunFolder
    from khasr.run.lock import lock_run

    with lock_run(RunFolder(folder)):
        return float(evaluate_run(config, folder)["rates"]["wer"]["rate"])


if __name__ == "__main__":
    run("evaluate", evaluate, root_of_run("evaluate"))
