"""Counts the pairs of digit strings of one speaker that share a recording of a digit.

shared_recordings.py DIGITS   one line per speaker

Two strings share a recording if more than 200 windows of 48 samples are equal, silence left out; recordings are joined
without being changed.
"""

import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import soundfile

from khasr.config import FolderConfig
from khasr.data.corpora import read_corpus

WINDOW = 48  # samples
SILENCE = 400  # of 32,768: a window without a louder sample is left out
SHARED = 200  # windows


def main(digits: str) -> None:
    """Prints the counts."""
    by_speaker = defaultdict(list)
    for utterance in read_corpus(FolderConfig(root=digits)).utterances:
        by_speaker[utterance.speaker].append(Path(digits) / f"{utterance.id}.flac")
    # A window's fingerprint: a random projection of its samples, modulo 2^64.
    projection = np.random.default_rng(0).integers(1, 2**62, WINDOW, dtype=np.int64)
    for speaker, paths in sorted(by_speaker.items()):
        fingerprints = []
        for path in paths:
            samples = soundfile.read(path, dtype="int16")[0].astype(np.int64)
            windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)
            loud = windows[np.abs(windows).max(axis=1) > SILENCE]
            fingerprints.append(np.unique((loud * projection).sum(axis=1)))
        owners = np.repeat(np.arange(len(paths)), list(map(len, fingerprints)))
        together = np.concatenate(fingerprints)
        order = np.argsort(together, kind="stable")
        together, owners = together[order], owners[order]
        equal = np.flatnonzero(together[1:] == together[:-1])
        pairs = Counter(zip(owners[equal], owners[equal + 1], strict=True))
        count = sum(windows > SHARED for windows in pairs.values())
        print(f"{speaker}: {count} pairs of {len(paths)} utterances share a recording")


if __name__ == "__main__":
    main(sys.argv[1])
