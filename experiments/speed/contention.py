"""Training speed beside other processes on the same cores, by OpenMP setting.

    python experiments/speed/contention.py [--steps 60] [--busy 0 1 2]

Trains experiment=quickstart (synthetic speech, tiny model) for a few steps under each setting, alone and beside
processes that keep a core busy each, and prints the seconds of audio per second that results.json reports. One warm-up
run makes the corpus first.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = {
    "GNU OpenMP's default": {"GOMP_SPINCOUNT": "300000"},  # what libgomp uses when neither variable is set
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=3000, khasr's default": {},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
_BUSY = "while True: sum(range(100_000))"


def train(folder: Path, steps: int, environment: dict[str, str]) -> float:
    """Seconds of audio per second of training, from results.json."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    words = [
        "experiment=quickstart", f"trainer.max_steps={steps}", f"trainer.val_every_steps={steps}",
        "trainer.progress_bar=false", f"hydra.run.dir={folder}",
    ]  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "khasr.train", *words], env=kept | environment, check=True, stdout=subprocess.DEVNULL
    )
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return float(results["train"]["audio_seconds_per_second"])


def main() -> None:
    """Measures every setting beside every number of busy processes and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="busy processes beside the training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        train(Path(name) / "warm-up", 2, {})
        print("| setting | " + " | ".join(f"{n} busy" for n in arguments.busy) + " |")
        print("| --- |" + " ---: |" * len(arguments.busy))
        for setting, environment in SETTINGS.items():
            speeds: list[float] = []
            for count in arguments.busy:
                busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
                try:
                    folder = Path(tempfile.mkdtemp(dir=name))
                    speeds.append(train(folder, arguments.steps, environment))
                finally:
                    for process in busy:
                        process.kill()
                        process.wait()
            print(f"| {setting} | " + " | ".join(f"{speed:.0f}" for speed in speeds) + " |", flush=True)


if __name__ == "__main__":
    main()
