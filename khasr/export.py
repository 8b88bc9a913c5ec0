"""Makes a Hugging Face folder of a run: weights, processor and model card, ready for transformers' pipeline.

python -m khasr.export RUN --out DIR
python -m khasr.export RUN --out DIR --lm LM --evaluation EVALUATION --push USER/NAME
"""

import argparse
import sys
from pathlib import Path

from khasr.cli.run import guarded


def main() -> int:
    """Writes the folder, and uploads it where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m khasr.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    add = parser.add_argument
    add(
        "--lm", type=Path, metavar="LM", help="an n-gram: build_lm's folder, or a KenLM file; the run's own where unset"
    )
    add("--evaluation", type=Path, metavar="DIR", help="khasr.evaluate's folder: the card's rates with the n-gram")
    parser.add_argument("--name", help="the model's name in its card; the out folder's name where unset")
    parser.add_argument("--push", metavar="USER/NAME", help="upload the folder to the Hugging Face hub")
    arguments = parser.parse_args()

    # Here, since torch and friends take seconds to import and a mistyped option should not wait for them.
    from khasr.publish.export import export, push
    from khasr.run.folder import RunFolder

    out = arguments.out.expanduser()
    run, name = RunFolder(arguments.run.expanduser()), arguments.name or out.resolve().name
    print(export(run, out, name, arguments.lm, arguments.evaluation))
    if arguments.push:
        print(push(out, arguments.push))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
