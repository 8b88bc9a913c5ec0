"""Finds the digit strings of one speaker that share a recording of a digit.

shared_recordings.py DIGITS   one line per speaker

Two strings share a recording if more than 200 windows of 48 samples are equal, silence left out; recordings are joined
without being changed.
"""

import itertools
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

from khasr.config import FolderConfig
from khasr.data.corpora import read_corpus

WINDOW = 48  # samples
SILENCE = 400  # of 32,768: a window without a louder sample is left out
SHARED = 200  # windows


def sharing_pairs(digits: Path, ids: list[str]) -> list[tuple[str, str]]:
    """The pairs among these utterances, of one speaker, that share a recording."""
    # A window's fingerprint: a random projection of its samples, modulo 2^64.
    projection = np.random.default_rng(0).integers(1, 2**62, WINDOW, dtype=np.int64)
    fingerprints = {}
    for id_ in ids:
        samples = soundfile.read(digits / f"{id_}.flac", dtype="int16")[0].astype(np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)
        loud = windows[np.abs(windows).max(axis=1) > SILENCE]
        fingerprints[id_] = set((loud * projection).sum(axis=1).tolist())
    return [(a, b) for a, b in itertools.combinations(ids, 2) if len(fingerprints[a] & fingerprints[b]) > SHARED]


def main(digits: str) -> None:
    """Prints the counts."""
    by_speaker = defaultdict(list)
    for utterance in read_corpus(FolderConfig(root=digits)).utterances:
        by_speaker[utterance.speaker].append(utterance.id)
    for speaker, ids in sorted(by_speaker.items()):
        pairs = sharing_pairs(Path(digits), ids)
        print(f"{speaker}: {len(pairs)} pairs of {len(ids)} utterances share a recording")


if __name__ == "__main__":
    main(sys.argv[1])
