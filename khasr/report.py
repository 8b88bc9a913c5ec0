"""Reports on many runs on one page: which settings work, whether the larger model is worse, and how certain that is.

python -m khasr.report runs/                             every run below the folder, into report/
python -m khasr.report runs/ export.csv --out page/      also a CSV table or offline folders of wandb
python -m khasr.report runs/ --reference optimizer.lr=1e-5 schedule.warmup=2000
python -m khasr.report runs/ --by model.checkpoint --small a.ckpt --large b.ckpt
python -m khasr.report runs/ --more-hours 5              runs with several data.train_hours: the WER of 5 more hours
"""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from khasr.cli.run import guarded

if TYPE_CHECKING:
    from khasr.study.runs import Runs


def main(arguments: list[str] | None = None) -> int:
    """Writes the page, its pictures and the tables; returns the exit code."""
    options = _parser().parse_args(arguments)
    for place in options.places:
        if not place.exists():
            raise FileNotFoundError(
                f"{place} does not exist. Expected the folder of a run, a folder of runs, or a CSV exported from wandb."
            )
    # Imported here because it takes seconds, and a mistyped option should be reported at once.
    from khasr.study.groups import label_by, split_by_utterances
    from khasr.study.page import write_index
    from khasr.study.runs import read_runs

    runs = read_runs(options.places)
    if options.by:
        runs = label_by(runs, options.by)
    for note in runs.notes:
        print(f"Not read: {note}", file=sys.stderr)
    pages = split_by_utterances(runs)
    _check_names(options, runs)
    options.out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, group in pages.items():
        if len(pages) > 1:
            print(f"{name}\n")
        written += _write_report(group, options, options.out / name)
    if len(pages) > 1:
        written.insert(0, write_index(pages, options.out))
    written += runs.write(options.out)
    for path in written:
        print(f"  {path}")
    return 0


def _write_report(runs: "Runs", options: argparse.Namespace, folder: Path) -> list[Path]:
    """Prints the result of runs scored on the same utterances and writes their page."""
    from khasr.study.comparison import footing_lines
    from khasr.study.design import build_design
    from khasr.study.overview import summarise
    from khasr.study.page import write_page
    from khasr.study.sections import count_statuses
    from khasr.study.utterances import utterance_error
    from khasr.study.verdict import judge

    named = set(runs.table["model"])
    small, large = (name if name in named else None for name in (options.small, options.large))
    design = build_design(runs, small, large, {k: v for k, v in options.reference if k in runs.options})
    error = utterance_error(design, design.reference_cell) if len(design.models) > 1 else 0.0
    verdict = judge(design, error)
    overview = summarise(design, verdict, error, options.more_hours)
    folder.mkdir(parents=True, exist_ok=True)
    written = write_page(design, verdict, overview, folder, options.utterances, options.audio, options.more_hours)
    print(f"{overview.headline}\n")
    print("".join(f"{sentence}\n\n" for sentence in overview.sentences), end="")
    for footing, gap, shown in footing_lines(verdict):
        print(f"  equal {footing:30}{gap:35}{shown}")
    if verdict.footings:
        print()
    print("".join(f"- {note}\n" for note in overview.notes))
    print(f"{count_statuses(runs.table)}.")
    if verdict.claims:
        lacking = sum(not claim.shown for claim in verdict.claims)
        print(f"{lacking} of {len(verdict.claims)} claims are not shown; the page lists them.")
    print()
    return written


def _check_names(options: argparse.Namespace, runs: "Runs") -> None:
    """Refuses names of models and of options that no run has."""
    models = sorted(runs.table["model"].unique())
    for name in (options.small, options.large):
        if name is not None and name not in models:
            raise ValueError(f"No run of a model named {name!r}. There are: {', '.join(models)}.")
    for option, _ in options.reference:
        if option not in runs.options:
            raise ValueError(f"--reference {option}: no run has that option. Expected an option of khasr.train.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "places",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folders that contain runs or offline folders of wandb, and CSV tables exported from wandb",
    )
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder of the report (default: %(default)s)")
    parser.add_argument(
        "--by", metavar="OPTION",
        help="compare the values of this option instead of models, for example model.checkpoint for two starts of one "
        "shape",
    )  # fmt: skip
    parser.add_argument("--small", metavar="NAME", help="the smaller model, or the one to compare with (default: the "
                        "one with the fewest parameters)")  # fmt: skip
    parser.add_argument("--large", metavar="NAME", help="the larger model (default: the one with the most parameters)")
    parser.add_argument(
        "--reference", nargs="+", type=_assignment, default=[], metavar="OPTION=VALUE",
        help="settings that effects are measured from (default: khasr's default if both models tried it, otherwise "
        "the most common value)",
    )  # fmt: skip
    parser.add_argument(
        "--more-hours", type=_positive, metavar="HOURS",
        help="hours of training audio to predict the WER for, beyond those of the largest data.train_hours "
        "(default: 10 or, where that is too far, as many as it has)",
    )  # fmt: skip
    parser.add_argument(
        "--utterances", type=int, default=10, help="number of utterances in each list of errors (default: %(default)s)"
    )
    parser.add_argument("--no-audio", dest="audio", action="store_false", help="do not embed recordings in the page")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours above 0")
    return value


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
