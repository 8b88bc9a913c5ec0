"""False alarms and power of the paired tests, on the hypotheses of a run's test part (hypotheses.tsv of an evaluation).

python experiments/decoding/paired_test.py EVALUATION_OF_ONE EVALUATION_OF_OTHER

False alarms: two runs' hypotheses swapped at random utterance by utterance, so that neither is better; how often is p
below 0.05? Power: one run's edits, and the same with a 2-point difference planted; how often is it seen?
"""

import sys
from pathlib import Path

import numpy as np

from khasr.scoring.alignments import error_segments
from khasr.scoring.hypotheses import Hypothesis, read_hypotheses
from khasr.scoring.significance import matched_pairs, paired_difference

TRIALS, POINTS = 1000, 0.02


def read(folder: str) -> list[Hypothesis]:
    parts, _ = read_hypotheses(Path(folder) / "hypotheses.tsv")
    return [hypothesis for hypotheses in parts.values() for hypothesis in hypotheses]


one, other = read(sys.argv[1]), read(sys.argv[2])
references = [h.reference for h in one]
assert references == [h.reference for h in other]
edits = np.array([[h.edits for h in run] for run in (one, other)])
words = np.array([len(r.split()) for r in references])
segments = [
    np.array(error_segments(r, a.hypothesis, b.hypothesis) or np.zeros((0, 2), int))
    for r, a, b in zip(references, one, other, strict=True)
]
print(
    f"{len(words)} utterances, {words.sum()} words, "
    f"WER {100 * edits[0].sum() / words.sum():.2f} and {100 * edits[1].sum() / words.sum():.2f} %"
)

rng = np.random.default_rng(0)
alarms = np.zeros(2)
for trial in range(TRIALS):
    swap = rng.random(len(words)) < 0.5
    a, b = np.where(swap, edits[::-1], edits)
    alarms[0] += paired_difference(a, b, words, resamples=2000, seed=trial).p < 0.05
    swapped = np.concatenate([s[:, ::-1] if w else s for s, w in zip(segments, swap, strict=True)])
    alarms[1] += matched_pairs(swapped[:, 0], swapped[:, 1]).p < 0.05
print(
    f"false alarms of {TRIALS}: paired bootstrap {100 * alarms[0] / TRIALS:.1f} %, "
    f"matched pairs {100 * alarms[1] / TRIALS:.1f} % below 0.05"
)

# Two simulated systems: the edits of each utterance are drawn independently from the first run's rates, and 2 points
# are added to one system, so that the true difference is known.
rate = np.clip((edits[0] + 0.5) / (words + 1), 0, 1)
for planted in (0.0, POINTS):
    seen = np.zeros(2)
    for trial in range(TRIALS):
        better, worse = rng.binomial(words, rate), rng.binomial(words, np.clip(rate + planted, 0, 1))
        # Runs of the same model share many errors: in half of the utterances both systems have the same.
        same = rng.random(len(words)) < 0.5
        worse = np.where(same, better + rng.binomial(words, planted), worse)
        seen[0] += paired_difference(worse, better, words, resamples=2000, seed=trial).p < 0.05
        seen[1] += matched_pairs(worse, better).p < 0.05
    print(
        f"{100 * planted:.0f} points planted: seen in {100 * seen[0] / TRIALS:.1f} % (paired bootstrap), "
        f"{100 * seen[1] / TRIALS:.1f} % (matched pairs over utterances)"
    )
