"""Builds an n-gram language model for decoder=beam_lm with KenLM's lmplz.

python -m khasr.build_lm wiki.txt --run RUN --out LM        with the run's text options, without val and test
python -m khasr.build_lm --run RUN --out LM                 from the run's training transcripts alone
python -m khasr.build_lm a.txt b.txt --order 3 --out LM     from text files only
"""

import argparse
import sys
from pathlib import Path

from khasr.cli.run import guarded


def main() -> int:
    """Builds the model that the command line describes; returns the exit code."""
    arguments = _parser().parse_args()
    # Imported here because it takes seconds, and a mistyped option should be reported at once.
    from khasr.lm.build import build_lm

    build_lm(arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.build_lm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILES", help="UTF-8 text files, one sentence or paragraph per line")
    add("--out", type=Path, required=True, metavar="DIR",
        help="folder to write: lm.arpa, lm.binary, unigrams.txt, spelling.npz, lm.json")  # fmt: skip
    add("--run", type=Path,
        help="a khasr run: its text options, training transcripts, and val and test sentences to remove")  # fmt: skip
    add("--order", type=int, default=5, help="words (or symbols) in an n-gram, 2 to 6 (default 5)")
    add("--prune", type=int, nargs="+", default=[0, 0, 1], metavar="N",
        help="drop n-grams with at most this count; one number per order, the last for all above (0 0 1)")  # fmt: skip
    add("--unit", choices=["word", "character", "cluster"], default="word",
        help="unit of the n-grams; characters or clusters have no unknown words (default word)")  # fmt: skip
    add("--spelling", type=int, default=8, metavar="ORDER",
        help="also build an n-gram of characters of this order, which scores the letters of every word, known or not; "
        "0: none, as for pyctcdecode (default 8)")  # fmt: skip
    add("--transcripts", choices=["interpolate", "append", "no"], default="interpolate",
        help="the run's training transcripts. interpolate: a separate model, interpolated with the weight that fits "
        "val best. append: added to the text. no: not used (default interpolate)")  # fmt: skip
    add("--segment", choices=["auto", "always", "never"], default="auto",
        help="segment Khmer into words; auto: files that are not segmented (default auto)")  # fmt: skip
    add("--val", type=Path, help="without --run: sentences to measure perplexity on and to remove, one per line")
    add("--test", type=Path, help="without --run: sentences to remove, one per line")
    add(
        "--keep-held-out",
        action="store_true",
        help="do not remove the sentences of val and test (their number is printed)",
    )
    add("--memory", default="1G", help="memory of lmplz (default 1G)")
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
