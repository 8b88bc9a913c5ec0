"""WERs of runs as CSV, with paired differences from the first one.

python experiments/pseudo_labels/table.py NAME=HYPOTHESES [NAME=HYPOTHESES ...]

HYPOTHESES is a hypotheses.tsv of val of a run, or of an evaluation.
"""

import sys
from pathlib import Path

from khasr.scoring.error_rates import word_edits
from khasr.scoring.hypotheses import read_hypotheses
from khasr.scoring.significance import paired_difference, rate_interval


def main(arguments: list[str]) -> None:
    """Prints the rows."""
    print("run,utterances,wer,low,high,difference,difference_low,difference_high,p")
    first: list[int] = []
    for argument in arguments:
        name, path = argument.split("=", 1)
        parts, _ = read_hypotheses(Path(path))
        # An evaluation has one part; ids of a mix begin with the name of the corpus.
        found = parts["val"] if "val" in parts else next(iter(parts.values()))
        edits = [word_edits(h.reference, h.hypothesis) for h in sorted(found, key=lambda h: h.id.split("/")[-1])]
        errors, words = [e.total for e in edits], [e.units for e in edits]
        first = first or errors
        numbers = [f"{number:.4f}" for number in rate_interval(errors, words)]
        if errors is not first:
            gain = paired_difference(errors, first, words)
            numbers += [f"{number:.4f}" for number in (gain.value, gain.low, gain.high, gain.p)]
        print(",".join([name, str(len(errors)), *numbers]))


if __name__ == "__main__":
    main(sys.argv[1:])
