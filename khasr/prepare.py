"""Fetches a corpus, brings it to 16 kHz, parts it and audits it; training then starts from the cache.

python -m khasr.prepare data=openslr_km                          downloads OpenSLR 42 (866 MB) and prepares it
python -m khasr.prepare data=openslr_km data.root=km_kh_male.zip data.split=speaker_text
"""

import json
import sys
import time
from pathlib import Path

from khasr.cli.run import run
from khasr.config import Config


def prepare(config: Config, folder: Path) -> None:
    """Prepares the corpus; prints its audit and writes audit.md, audit.json and split.tsv into the folder."""
    # Here, since torch and friends take seconds to import and a mistyped option should not wait for them.
    from khasr.data.audit import audit, audited, describe
    from khasr.data.corpora import fetch_corpus
    from khasr.data.datamodule import CorpusDataModule
    from khasr.data.splits import manifest
    from khasr.run.folder import RunFolder, write_whole

    fetch_corpus(config.data, config.trainer.progress_bar)
    start = time.perf_counter()
    data = CorpusDataModule(config.data, config.seed)
    data.prepare(config.trainer.progress_bar)
    seconds = time.perf_counter() - start
    found = audit(config.data.name, audited(data), data.faults, config.data.text.units)
    found["split"] = config.data.split
    report = describe(found)
    write_whole(folder / "audit.md", report)
    write_whole(folder / "audit.json", json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    write_whole(RunFolder(folder).split, manifest({name: list(part.audio["id"]) for name, part in data.parts.items()}))
    # The symbols are a long table, for the file.
    print(report.split("## Symbols")[0].rstrip())
    hours = found["all"]["hours"]
    print(f"\n{hours:.2f} h in {seconds:.1f} s ({3600 * hours / seconds:.0f} times real time).")
    print(f"{folder}/audit.md has all of it; data.split={folder}/split.tsv gives this split to any run.")


if __name__ == "__main__":
    if not any(argument.startswith("hydra.run.dir=") for argument in sys.argv):
        # By corpus and not by date: preparing again says the same again.
        sys.argv.append("hydra.run.dir=prepared/${data.name}")
    run("prepare", prepare)
