"""Precision and recall of rankings of utterances whose swapped transcripts are known.

python experiments/wrong_transcripts/score.py TRANSCRIPTS.tsv SWAPPED.tsv
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

ranked, swapped = (pd.read_csv(Path(p), sep="\t", quoting=3, keep_default_na=False) for p in sys.argv[1:3])
ranked["wrong"] = ranked["id"].isin(set(swapped["id"]))
rng = np.random.default_rng(0)
head = ("part", "utterances", "wrong", "ranked by", "in the first 5 %", "precision, %", "recall, %")
print(f"| {' | '.join(head)} | AP, % [95 % over utterances] |")
print("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
for part in ("train", "val", "both"):
    rows = ranked if part == "both" else ranked[ranked["part"] == part]
    most = round(0.05 * len(rows))
    for by in ("score", "loss", "cer"):
        order = rows.sort_values([by, "id"], ascending=[False, True])
        hits, wrong = int(order["wrong"][:most].sum()), int(rows["wrong"].sum())
        draws = [rows.iloc[rng.integers(0, len(rows), len(rows))] for _ in range(500)]
        ap = [average_precision_score(d["wrong"], d[by]) for d in draws if d["wrong"].any()]
        low, high = np.quantile(ap, [0.025, 0.975])
        value = average_precision_score(rows["wrong"], rows[by])
        found = f"{hits} of {most} | {100 * hits / most:.0f} | {100 * hits / wrong:.0f}"
        precision = f"{100 * value:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
        print(f"| {part} | {len(rows)} | {wrong} | {by} | {found} | {precision} |")
