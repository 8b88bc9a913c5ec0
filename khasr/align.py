"""Cuts a long recording with its text into utterances to train on.

python -m khasr.align RUN talk.mp3 talk.txt --out DIR      writes a folder that data=folder reads
"""

import argparse
import sys
from pathlib import Path

from khasr.cli.run import guarded


def main() -> int:
    """Aligns the recording; returns 1 if it could not be decoded completely."""
    arguments = _parser().parse_args()
    # Imported here because torch takes seconds, and a mistyped option should be reported at once.
    from khasr.inference.alignment import align

    return align(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.align", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a run, or of a Hugging Face CTC model")
    add("audio", metavar="AUDIO", help="the recording, of any length")
    add("text", type=Path, metavar="TEXT", help="its text in order, UTF-8; a line has one or more sentences")
    add("--out", type=Path, required=True, metavar="DIR",
        help="folder to write: utterances.tsv, audio/, left_out.tsv")  # fmt: skip
    add("--min-confidence", type=float, default=0.15, metavar="SHARE",
        help="leave out sentences whose confidence, from 0 to 1, is lower (default 0.15)")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
