"""Runs of plans of khasr.explain and of second stages as CSV: `python table.py NAME=FOLDER...`; a FOLDER has runs/."""

import csv
import json
import re
import sys
from pathlib import Path

rows = csv.writer(sys.stdout, lineterminator="\n")
rows.writerow(["plan", "cell", "seed", "status", "utterances", "wer", "cer", "training_seconds"])
for argument in sys.argv[1:]:
    name, folder = argument.split("=", 1)
    for path in sorted(Path(folder).glob("runs/*/results.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        run = re.match(r"seed-(\d+)_experiment-(.+)_[a-z0-9]+$", path.parent.name)
        assert run, path
        val = results["val"] or {"utterances": "", "wer": "", "cer": ""}
        wer, cer = (f"{val[key]:.4f}" if val["utterances"] else "" for key in ("wer", "cer"))
        seconds = f"{results['train']['seconds']:.0f}" if results["status"] == "completed" else ""
        rows.writerow([name, run[2], run[1], results["status"], val["utterances"], wer, cer, seconds])
