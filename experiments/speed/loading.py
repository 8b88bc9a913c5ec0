"""How many seconds of audio one process loads in a second of its time: python -m experiments.speed.loading OVERRIDE...

The overrides are those of `python -m khasr.train`. Reads the batches of the first epoch several times, with and without
changes of speed, and prints the medians.
"""

import statistics
import sys
import time

from khasr.config import compose
from khasr.data.datamodule import CorpusDataModule

_ROUNDS = 3
_CHANGES = {
    "as recorded": [],
    "speed": ["data.augment.speed=[0.9,1.0,1.1]"],
    "speed, noise, pauses": [
        "data.augment.speed=[0.9,1.0,1.1]", "data.augment.noise_snr_db=[5,20]", "data.augment.pause_seconds=[0,0.5]",
    ],
}  # fmt: skip


def main() -> None:
    """Prints the table."""
    print("| waveforms | s of audio loaded per s |\n| --- | ---: |")
    for name, changes in _CHANGES.items():
        config = compose(*sys.argv[1:], *changes)
        data = CorpusDataModule(config.data, config.seed)
        data.prepare(progress=False)
        speeds = []
        for _ in range(_ROUNDS + 1):
            begun = time.process_time()
            audio = sum(batch.audio_seconds for batch in data.train_dataloader())
            speeds.append(audio / (time.process_time() - begun))
        print(f"| {name} | {statistics.median(speeds[1:]):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
