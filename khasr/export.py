"""Exports a run as a Hugging Face folder: weights, processor and model card, ready for transformers' pipeline.

python -m khasr.export RUN --out DIR --language fr --license cc-by-4.0
python -m khasr.export RUN --out DIR --lm LM --evaluation EVALUATION --push USER/NAME
"""

import argparse
import sys
from pathlib import Path

from khasr.cli.run import guarded


def main() -> int:
    """Writes the folder and, with --push, uploads it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m khasr.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    add = parser.add_argument
    add(
        "--lm",
        type=Path,
        metavar="LM",
        help="n-gram: a folder written by build_lm, or a KenLM file (default: the run's)",
    )
    add(
        "--evaluation",
        type=Path,
        metavar="DIR",
        help="a folder written by khasr.evaluate, for the error rates with the n-gram in the card",
    )
    add("--language", nargs="+", metavar="CODE", help="languages for the card, such as fr (default: the corpus's)")
    add("--license", metavar="ID", help="licence for the card, such as cc-by-4.0 (default: the corpus's, if known)")
    add("--dataset", metavar="ID", help="dataset on the Hugging Face hub, for the card (default: the corpus's id)")
    parser.add_argument("--name", help="name of the model in its card (default: the name of the --out folder)")
    parser.add_argument("--push", metavar="USER/NAME", help="upload the folder to the Hugging Face hub")
    arguments = parser.parse_args()

    # Imported here because torch takes seconds, and a mistyped option should be reported at once.
    from khasr.publish.corpus import Stated
    from khasr.publish.export import export, push
    from khasr.run.folder import RunFolder
    from khasr.run.lock import lock_run

    out = arguments.out.expanduser()
    run, name = RunFolder(arguments.run.expanduser()), arguments.name or out.resolve().name
    if not run.is_run:
        raise FileNotFoundError(f"{run.config} does not exist; expected the folder of a run (python -m khasr.train).")
    stated = Stated(arguments.language, arguments.license, arguments.dataset)
    with lock_run(run):
        print(export(run, out, name, arguments.lm, arguments.evaluation, stated))
    if arguments.push:
        print(push(out, arguments.push))
    else:
        print(f"Next: python -m khasr.transcribe {out} AUDIO; hf upload USER/NAME {out} publishes it (or --push).")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
