"""Splits the digit strings by speaker: four to train on, two to score, whose utterances are the pilot's or the study's.

split.py DIGITS   writes pilot.tsv and study.tsv beside itself, manifests that data.split=PATH reads

By speaker, since utterances of one speaker share recordings of digits (about 250 pairs of 150 utterances do).
"""

import random
import sys
from pathlib import Path

from khasr.config import FolderConfig
from khasr.data.corpora import read_corpus
from khasr.data.splits import manifest, same_sentence

SEED = 42
SCORED_SPEAKERS = 2  # of 6
PILOT = 50  # utterances of each scored speaker; the other 100 are the study's
TEST = 5  # of these; khasr asks for a test part, which is never scored here


def main(digits: str) -> None:
    """Writes both manifests and prints the size of their parts."""
    utterances = list(read_corpus(FolderConfig(root=digits)).utterances)
    draw = random.Random(SEED)
    draw.shuffle(utterances)
    scored = draw.sample(sorted({u.speaker for u in utterances if u.speaker}), SCORED_SPEAKERS)
    uses = {"pilot": slice(None, PILOT), "study": slice(PILOT, None)}
    held_out = {
        name: [[u for u in utterances if u.speaker == speaker][of] for speaker in scored] for name, of in uses.items()
    }
    # No digit string of any val is in train, although both are made of the same ten words.
    strings = {same_sentence(u.text) for of in held_out.values() for speaker in of for u in speaker}
    train = [u.id for u in utterances if u.speaker not in scored and same_sentence(u.text) not in strings]
    for name, of in held_out.items():
        parts = {
            "train": train,
            "val": [u.id for speaker in of for u in speaker[TEST:]],
            "test": [u.id for speaker in of for u in speaker[:TEST]],
        }
        (Path(__file__).parent / f"{name}.tsv").write_text(manifest(parts), encoding="utf-8")
        print(f"{name}: {', '.join(f'{len(ids)} {part}' for part, ids in parts.items())}")
    print(f"val: {', '.join(scored)}")


if __name__ == "__main__":
    main(sys.argv[1])
