"""Splits the digit strings so that all parts have all six speakers, but train and val share no recording of a digit.

split.py DIGITS   writes pilot.tsv and study.tsv beside itself, manifests that data.split=PATH reads

Per speaker, val takes the utterances that share recordings with the fewest others; these others are in no part. Short
strings are preferred by this: 3.4 words against 4.3 in train.
"""

import random
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from shared_recordings import sharing_pairs

from khasr.config import FolderConfig
from khasr.data.corpora import read_corpus
from khasr.data.splits import manifest, same_sentence

SEED = 42
HELD_OUT = 45  # utterances of each speaker
PILOT = 12  # of these for the pilot's val; the others are the study's
TEST = 1  # of each; khasr asks for a test part, which is never scored here


def held_out(ids: list[str], shares: dict[str, set[str]]) -> tuple[list[str], set[str]]:
    """The held-out utterances of a speaker, and those that share a recording with one of them."""
    chosen: list[str] = []
    dropped: set[str] = set()
    while len(chosen) < HELD_OUT:
        costs = {i: len(shares[i] - set(chosen) - dropped) - (i in dropped) for i in ids if i not in chosen}
        best = min(costs, key=costs.__getitem__)
        chosen.append(best)
        dropped = (dropped | shares[best]) - set(chosen)
    return chosen, dropped


def main(digits: str) -> None:
    """Writes both manifests and prints the size of their parts."""
    utterances = read_corpus(FolderConfig(root=digits)).utterances
    texts = {u.id: u.text for u in utterances}
    draw = random.Random(SEED)
    by_speaker = defaultdict(list)
    for utterance in utterances:
        by_speaker[utterance.speaker].append(utterance.id)
    train: list[str] = []
    held: list[list[str]] = []
    for _, ids in sorted(by_speaker.items()):
        draw.shuffle(ids)
        shares: dict[str, set[str]] = defaultdict(set)
        for a, b in sharing_pairs(Path(digits), ids):
            shares[a].add(b)
            shares[b].add(a)
        chosen, dropped = held_out(ids, shares)
        draw.shuffle(chosen)
        held.append(chosen)
        train += [i for i in ids if i not in chosen and i not in dropped]
    # No digit string of any val is in train, although both are made of the same ten words.
    strings = {same_sentence(texts[i]) for chosen in held for i in chosen}
    train = [i for i in train if same_sentence(texts[i]) not in strings]
    for name, of in {"pilot": slice(None, PILOT), "study": slice(PILOT, None)}.items():
        parts = {
            "train": train,
            "val": [i for chosen in held for i in chosen[of][TEST:]],
            "test": [i for chosen in held for i in chosen[of][:TEST]],
        }
        (Path(__file__).parent / f"{name}.tsv").write_text(manifest(parts), encoding="utf-8")
        print(f"{name}: {', '.join(f'{len(ids)} {part}' for part, ids in parts.items())}")


if __name__ == "__main__":
    main(sys.argv[1])
