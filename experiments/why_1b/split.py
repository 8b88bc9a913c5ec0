"""Parts the twin of OpenSLR 42 for this study: speakers to pretrain on, and others to fine-tune on and to score.

split.py TWIN   writes pretrain.tsv and finetune.tsv beside itself, manifests that data.split=PATH reads
"""

import random
import sys
from pathlib import Path

import soundfile

from khasr.config import OpenslrKmConfig
from khasr.data.corpora import read_corpus
from khasr.data.splits import manifest, same_sentence

FINETUNED = ("1161", "4119", "6444", "7548", "8029")
LONGEST = 4.0  # seconds: short utterances make more updates of the same audio
TRAIN, VAL, TEST = 320, 120, 60  # test is never read here
WATCHED = 40  # utterances of the pretraining's own val part
SEED = 42


def main(twin: str) -> None:
    """Writes both manifests and prints the duration of their parts."""
    corpus = read_corpus(OpenslrKmConfig(root=twin))
    wavs = Path(twin) / "km_kh_male" / "wavs"
    seconds = {u.id: soundfile.info(wavs / f"{u.id}.wav").duration for u in corpus.utterances}
    draw = random.Random(SEED)
    others = [u for u in corpus.utterances if u.speaker in FINETUNED and seconds[u.id] <= LONGEST]
    draw.shuffle(others)
    # One of each sentence: val and train share speakers, as the card's split does, and no sentence.
    finetuned = list({same_sentence(u.text): u for u in others}.values())
    sentences = {same_sentence(u.text) for u in finetuned}
    pretrained = [u for u in corpus.utterances if u.speaker not in FINETUNED and same_sentence(u.text) not in sentences]
    draw.shuffle(pretrained)
    parts = {
        "finetune": {
            "train": finetuned[:TRAIN],
            "val": finetuned[TRAIN : TRAIN + VAL],
            "test": finetuned[TRAIN + VAL :][:TEST],
        },
        "pretrain": {
            "train": pretrained[2 * WATCHED :],
            "val": pretrained[:WATCHED],
            "test": pretrained[WATCHED : 2 * WATCHED],
        },
    }
    for name, of in parts.items():
        ids = {part: sorted(u.id for u in members) for part, members in of.items()}
        (Path(__file__).parent / f"{name}.tsv").write_text(manifest(ids), encoding="utf-8")
        lengths = (f"{len(m)} {p} ({sum(seconds[i] for i in m) / 60:.1f} min)" for p, m in ids.items() if m)
        print(f"{name}: {', '.join(lengths)}, {len({u.speaker for m in of.values() for u in m})} speakers")


if __name__ == "__main__":
    main(sys.argv[1])
