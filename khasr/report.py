"""Compares many runs on one page: whether the larger model is worse, why, and with what certainty.

python -m khasr.report runs/                             every run below the folder, into report/
python -m khasr.report runs/ export.csv --out page/      also a table exported from wandb, and its offline folders
python -m khasr.report runs/ --reference optimizer.lr=1e-5 schedule.warmup=2000
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from khasr.cli.run import guarded


def main(arguments: list[str] | None = None) -> int:
    """Writes the page, its pictures and the tables; returns the exit code."""
    options = _parser().parse_args(arguments)
    # Imported here because it takes seconds, and a mistyped option should be reported at once.
    from khasr.study.design import build_design
    from khasr.study.page import write_page
    from khasr.study.runs import read_runs
    from khasr.study.utterances import utterance_error
    from khasr.study.verdict import judge

    runs = read_runs(options.places)
    options.out.mkdir(parents=True, exist_ok=True)
    written = runs.write(options.out)
    for note in runs.notes:
        print(f"Not read: {note}", file=sys.stderr)
    design = build_design(runs, options.small, options.large, dict(options.reference))
    verdict = judge(design, utterance_error(design, design.reference_cell))
    written = write_page(design, verdict, options.out, options.utterances, options.audio) + written
    counts = runs.table["status"].value_counts()
    print(f"{len(runs.table)} runs: {', '.join(f'{n} {status}' for status, n in counts.items())}\n")
    print("\n".join(verdict.words))
    print(f"\nNot shown: {len(verdict.not_shown)} claims; the page lists them.\n")
    for path in written:
        print(f"  {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "places",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders of runs, offline folders of wandb, or an exported CSV",
    )
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--small", help="the smaller model (default: the smallest by parameters)")
    parser.add_argument("--large", help="the larger model (default: the largest)")
    parser.add_argument(
        "--reference", nargs="+", type=_assignment, default=[], metavar="OPTION=VALUE",
        help="settings to compare from (default: khasr's defaults, the card's, if both models tried them, else "
        "the most common value)",
    )  # fmt: skip
    parser.add_argument(
        "--utterances", type=int, default=10, help="utterances in each list of errors (default: %(default)s)"
    )
    parser.add_argument("--no-audio", dest="audio", action="store_false", help="do not put recordings on the page")
    return parser


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not OPTION=VALUE")
    number = yaml.safe_load(value)
    try:
        return name, float(value) if not isinstance(number, bool) else number
    except ValueError:
        return name, number


if __name__ == "__main__":
    sys.exit(guarded(main))
