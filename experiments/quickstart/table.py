"""The README's table, from results.json files."""

import json
import sys
from pathlib import Path

print("| run | val WER, % | test WER, % | test CER, % | test utterances | training, s | s of audio/s | GiB |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
for path in map(Path, sys.argv[1:]):
    results = json.loads(path.read_text(encoding="utf-8"))
    val, test, train = results["val"], results["test"], results["train"]
    print(
        f"| {path.stem} | {100 * val['wer']:.2f} | {100 * test['wer']:.2f} | {100 * test['cer']:.2f} "
        f"| {test['utterances']} | {train['seconds']:.0f} | {train['audio_seconds_per_second']:.0f} "
        f"| {train['peak_memory_gib']:.1f} |"
    )
