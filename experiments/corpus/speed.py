"""The speed of preparing a corpus, and of starting with a prepared one: python speed.py TWIN [zip].

TWIN is the folder that the twin of OpenSLR 42 was written to, or its zip. Prints the conversion's speed against real
time and the most memory it held, then, in a separate process, the seconds from the options to the first batch.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from khasr.config import OpenslrKmConfig
from khasr.data.datamodule import CorpusDataModule


def main() -> None:
    """Prints a row of the table."""
    root, cache = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    if cache is None:
        with tempfile.TemporaryDirectory() as folder:
            measure(root, folder, "prepared")
            subprocess.run([sys.executable, __file__, root, folder], check=True)
    else:
        measure(root, cache, "second start")


def measure(root: str, cache: str, what: str) -> None:
    """Times a start up to the first batch."""
    start, start_cpu = time.perf_counter(), time.process_time()
    data = CorpusDataModule(OpenslrKmConfig(root=root, cache_dir=cache), seed=0)
    data.prepare(progress=False)
    ready, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    batch = next(iter(data.train_dataloader()))
    first = time.perf_counter() - start
    made = json.loads(next(Path(cache).glob("*/made.json")).read_text(encoding="utf-8"))
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{what}: {made['utterances']:,} utterances, {made['seconds'] / 3600:.2f} h in {ready:.1f} s "
        f"({made['seconds'] / ready:.0f} times real time; {cpu:.1f} s of processor), "
        f"first batch of {len(batch.ids)} after {first:.2f} s, "
        f"peak memory {gib:.2f} GiB"
    )


if __name__ == "__main__":
    main()
