"""Downloads a corpus, converts it to 16 kHz, splits it and prints an audit; with a run, finds wrong transcripts.

python -m khasr.prepare data=openslr_km                  downloads OpenSLR 42 (866 MB) and prepares it
python -m khasr.prepare data=openslr_km data.root=km_kh_male.zip data.split=speaker_text
python -m khasr.prepare run=RUN                          ranks transcripts by how little they fit the run's model
"""

import json
import shlex
import time
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from khasr.cli.run import run
from khasr.cli.run_options import root_with_run
from khasr.config import PrepareConfig


def prepare(config: PrepareConfig, folder: Path) -> None:
    """Prepares the corpus; prints its audit and writes audit.md, audit.json and split.tsv into the folder.

    With a run, ranks its transcripts instead; see `khasr.inference.transcript_check`.
    """
    if config.run is not None:
        from khasr.inference.transcript_check import check_transcripts

        check_transcripts(config, folder)
        return
    # Imported here because torch takes seconds, and a mistyped option should be reported at once.
    from khasr.data.audit import audit, describe
    from khasr.data.audited import audited
    from khasr.data.corpora import fetch_corpus
    from khasr.data.datamodule import CorpusDataModule
    from khasr.data.splits import manifest
    from khasr.run.folder import RunFolder, write_whole

    fetch_corpus(config.data, config.progress_bar)
    start = time.perf_counter()
    data = CorpusDataModule(config.data, config.seed)
    data.prepare(config.progress_bar)
    seconds = time.perf_counter() - start
    found = audit(config.data.name, audited(data), data.faults, config.data.text)
    found["split"] = config.data.split
    report = describe(found)
    write_whole(folder / "audit.md", report)
    write_whole(folder / "audit.json", json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    write_whole(RunFolder(folder).split, manifest({name: list(part.audio["id"]) for name, part in data.parts.items()}))
    # Without the long table of symbols, which is in the file.
    print(report.split("## Symbols")[0].rstrip())
    hours = found["all"]["hours"]
    print(f"\n{hours:.2f} h in {seconds:.1f} s ({3600 * hours / seconds:.0f} times real time).")
    print(f"The full audit is in {folder}/audit.md; data.split={folder}/split.tsv gives a run this split.")
    if HydraConfig.initialized():
        words = shlex.join(word for word in HydraConfig.get().overrides.task if word.startswith("data"))
        print(f"Next: python -m khasr.train {words} model=xlsr_300m (on a CPU: experiment=quickstart, without model=)")


if __name__ == "__main__":
    run("prepare", prepare, root_with_run("prepare"))
