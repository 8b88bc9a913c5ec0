"""Prints the WERs of the labelled part alone and of the rounds as CSV, with paired differences from the former.

python experiments/pseudo_labels/table.py WORK SEED
"""

import sys
from pathlib import Path

from khasr.scoring.error_rates import word_edits
from khasr.scoring.hypotheses import read_hypotheses
from khasr.scoring.significance import paired_difference, rate_interval


def main(work: Path, seed: str) -> None:
    """Reads the hypotheses of val of the runs in a folder that run.sh filled."""
    print("run,pseudo_labels,wer,low,high,difference,difference_low,difference_high,p")
    alone: list[int] = []
    rounds = [(f"round{seed}_{n}", f"round {n}") for n in (1, 2)]
    for run, name in ((f"labelled{seed}", "labelled"), *rounds, (f"all{seed}", "all text")):
        if not (work / run / "hypotheses.tsv").is_file():
            continue
        parts, _ = read_hypotheses(work / run / "hypotheses.tsv")
        rows = sorted(parts["val"], key=lambda h: h.id.removeprefix("folder/"))
        edits = [word_edits(h.reference, h.hypothesis) for h in rows]
        errors, words = [e.total for e in edits], [e.units for e in edits]
        alone = alone or errors
        labels = work / f"labels{run.removeprefix('round')}" / "utterances.tsv"
        count = len(labels.read_text(encoding="utf-8").splitlines()) - 1 if labels.is_file() else 0
        numbers = [f"{number:.4f}" for number in rate_interval(errors, words)]
        if errors is not alone:
            found = paired_difference(errors, alone, words)
            numbers += [f"{number:.4f}" for number in (found.value, found.low, found.high, found.p)]
        print(",".join([name, str(count), *numbers]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
