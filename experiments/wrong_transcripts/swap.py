"""Swaps 5 % of the transcripts of a part between its utterances, and writes down which.

python experiments/wrong_transcripts/swap.py DIGITS SPLIT OUT [--share 0.05] [--seed 0]
"""

import argparse
import random
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("digits", type=Path, help="folder with audio/ and utterances.tsv (audio, text, speaker)")
parser.add_argument("split", type=Path, help="table of id and part")
parser.add_argument("out", type=Path, help="folder to write")
parser.add_argument("--share", type=float, default=0.05, help="share of the utterances of each part")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

header, *lines = (options.digits / "utterances.tsv").read_text(encoding="utf-8").splitlines()
rows = [line.split("\t") for line in lines]
text_of = {audio.rsplit(".", 1)[0]: text for audio, text, _ in rows}
part_of = dict(line.split("\t") for line in options.split.read_text(encoding="utf-8").splitlines()[1:])
rng = random.Random(options.seed)
swapped: dict[str, str] = {}
for part in ("train", "val"):
    ids = sorted(id_ for id_, its in part_of.items() if its == part)
    rng.shuffle(ids)
    pairs = round(options.share * len(ids) / 2)
    while pairs:
        one = ids.pop()
        # The same text is no wrong transcript.
        other = next(id_ for id_ in ids if text_of[id_] != text_of[one])
        ids.remove(other)
        swapped |= {one: text_of[other], other: text_of[one]}
        pairs -= 1
options.out.mkdir(parents=True, exist_ok=True)
(options.out / "audio").unlink(missing_ok=True)
(options.out / "audio").symlink_to((options.digits / "audio").resolve())
written = [[audio, swapped.get(audio.rsplit(".", 1)[0], text), speaker] for audio, text, speaker in rows]
table = "\n".join([header, *("\t".join(row) for row in written)])
(options.out / "utterances.tsv").write_text(f"{table}\n", encoding="utf-8")
listed = [f"{id_}\t{part_of[id_]}\t{text_of[id_]}\t{text}" for id_, text in sorted(swapped.items())]
(options.out / "swapped.tsv").write_text("\n".join(["id\tpart\ttrue\twritten", *listed]) + "\n", encoding="utf-8")
kept = [id_ for id_, part in part_of.items() if part in ("train", "val")]
print(f"{len(swapped)} of {len(kept)} transcripts of train and val are swapped.")
