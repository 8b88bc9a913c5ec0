"""Makes a corpus of digit strings spoken by espeak-ng in English, for the starts of the second protocol.

    python experiments/card_in_small/synthetic_digits.py DIR --utterances 1500 --seed 0

DIR gets audio/ (8 kHz, as the real digits) and utterances.tsv, as data=folder reads them. Needs the extra `synthetic`.
"""

import argparse
import csv
import ctypes
import random
from pathlib import Path

import espeakng_loader
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

DIGITS = "zero one two three four five six seven eight nine".split()
ACCENTS = "en en-us en-us-nyc en-gb-scotland en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-029".split()
VARIANTS = [
    f"{kind}{i}" for i in range(1, 6) for kind in "mf"
] + "m6 m7 m8 Annie Michael Andrea Mario paul linda rob Hugo steph".split()
RATE, PITCH, RANGE, UTF8 = 1, 3, 4, 1
OUT_HZ = 8000


class Voice:
    def __init__(self) -> None:
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.hz = self.library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
        self.parts: list[NDArray[np.int16]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self.callback = kind(self.take)
        self.library.espeak_SetSynthCallback(self.callback)

    def take(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if count > 0:
            self.parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, name: str, pace: int, pitch: int, melody: int) -> NDArray[np.float32]:
        if self.library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name}.")
        for parameter, value in ((RATE, pace), (PITCH, pitch), (RANGE, melody)):
            self.library.espeak_SetParameter(parameter, value, 0)
        self.parts.clear()
        data = text.encode()
        self.library.espeak_Synth(data, len(data) + 1, 0, 1, 0, UTF8, None, None)
        self.library.espeak_Synchronize()
        return np.concatenate(self.parts).astype(np.float32) / 32768


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--utterances", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    (options.dir / "audio").mkdir(parents=True)
    rng, noise = random.Random(options.seed), np.random.default_rng(options.seed)
    voice = Voice()
    names = [f"{accent}+{variant}" for accent in ACCENTS for variant in VARIANTS]
    rng.shuffle(names)
    pitches = {name: (rng.randint(20, 80), rng.randint(110, 210), rng.randint(20, 80)) for name in names}
    with (options.dir / "utterances.tsv").open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["audio", "text", "speaker"])
        for number in range(options.utterances):
            name = names[number % len(names)]
            words = [rng.choice(DIGITS) for _ in range(rng.randint(2, 6))]
            pitch, pace, melody = pitches[name]
            # The real strings are recordings of single digits with pauses between them: so are half of these.
            separator = ", " if rng.random() < 0.5 else " "
            wave = voice.speak(separator.join(words), name, pace + rng.randint(-15, 15), pitch, melody)
            wave = soxr.resample(wave, voice.hz, OUT_HZ)
            wave = wave * rng.uniform(0.1, 0.7) / max(1e-6, float(np.abs(wave).max()))
            wave = wave + noise.normal(0, 10 ** rng.uniform(-3.5, -2), len(wave)).astype(np.float32)
            path = f"audio/{number:05d}.flac"
            soundfile.write(options.dir / path, wave.astype(np.float32), OUT_HZ)
            table.writerow([path, " ".join(words), name])


if __name__ == "__main__":
    main()
