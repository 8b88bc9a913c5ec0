"""Makes a Hugging Face folder of a run: weights, processor and model card, ready for transformers' pipeline.

python -m khasr.export RUN --out DIR
python -m khasr.export RUN --out DIR --lm LM_FOLDER --push USER/NAME
"""

import argparse
import sys
from pathlib import Path

from khasr.door import guarded


def main() -> int:
    """Writes the folder, and uploads it where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m khasr.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument(
        "--lm", type=Path, metavar="FILE", help="KenLM n-gram (unigrams.txt beside it); the run's own where unset"
    )
    parser.add_argument("--name", help="the model's name in its card; the out folder's name where unset")
    parser.add_argument("--push", metavar="USER/NAME", help="upload the folder to the Hugging Face hub")
    arguments = parser.parse_args()

    # Here, since torch and friends take seconds to import and a mistyped option should not wait for them.
    from khasr.study.export import export, push
    from khasr.training.run_folder import RunFolder

    out = arguments.out.expanduser()
    told = export(RunFolder(arguments.run.expanduser()), out, arguments.name or out.resolve().name, arguments.lm)
    print(told)
    if arguments.push:
        print(push(out, arguments.push))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
