"""Builds an n-gram language model for decoder=beam_lm with KenLM's lmplz.

python -m khasr.build_lm wiki.txt --run RUN --out LM        with the run's text options, kept off its val and test
python -m khasr.build_lm --run RUN --out LM                 of the run's training transcripts alone
python -m khasr.build_lm a.txt b.txt --order 3 --out LM     of files as they are
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Reads the command line and builds the model; exits with 2 on a mistake in it."""
    arguments = _parser().parse_args()
    # After the options are read: these take seconds to import.
    from khasr.lm.build import build_lm

    try:
        build_lm(arguments)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.build_lm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILES", help="UTF-8 text, a sentence or a paragraph a line")
    add("--out", type=Path, required=True, metavar="DIR", help="where lm.arpa, lm.binary, unigrams.txt, lm.json go")
    add("--run", type=Path, help="a khasr run: its text options, training transcripts, and val and test to keep off")
    add("--order", type=int, default=5, help="words (or symbols) in an n-gram, 1 to 6 (default 5)")
    add("--prune", type=int, nargs="+", default=[0, 0, 1], metavar="N",
        help="drop n-grams seen N times or fewer, by order, the last for all above (default 0 0 1)")  # fmt: skip
    add("--unit", choices=["word", "character", "cluster"], default="word",
        help="what an n-gram counts; characters or clusters know every word (default word)")  # fmt: skip
    add("--transcripts", choices=["interpolate", "append", "no"], default="interpolate",
        help="the run's training transcripts: a model of their own, mixed in by the weight "
        "that fits val best; more text; or not used")  # fmt: skip
    add("--segment", choices=["auto", "always", "never"], default="auto",
        help="cut Khmer into words: where a file is not cut already (auto), always, never")  # fmt: skip
    add("--val", type=Path, help="references to measure on and keep off, one a line, where there is no --run")
    add("--test", type=Path, help="references to keep off, one a line, where there is no --run")
    add("--keep-held-out", action="store_true", help="keep sentences that val or test have (they are counted)")
    add("--memory", default="1G", help="of lmplz (default 1G)")
    return parser


if __name__ == "__main__":
    main()
