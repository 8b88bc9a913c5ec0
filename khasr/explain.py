"""Explains why recipe B has a higher WER than recipe A: runs both and their combinations, and attributes the gap.

python -m khasr.explain A B --plan                          factors, cells, runs and hours; runs nothing
python -m khasr.explain A B --out why --seeds 6 --jobs 2    A and B: a run's folder, or quoted overrides of khasr.train
python -m khasr.explain why                                 continues: runs what is missing, then reports
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from khasr.cli.errors import MISTAKE
from khasr.cli.run import guarded

if TYPE_CHECKING:
    from khasr.study.explain.plan import Plan
    from khasr.study.explain.recipes import Recipe

SEEDS = 6

Recipes = tuple["Recipe | None", "Recipe | None"]
NOT_READ: Recipes = (None, None)
"""Recipes of a plan that is continued: its factors and cells are in explain.json."""


def main(arguments: list[str] | None = None) -> int:
    """Prints the plan, or makes the missing runs and writes the report; returns the exit code."""
    options = _parser().parse_args(arguments)
    # Imported here, because matplotlib takes a second to import and a mistyped option should be reported at once.
    from khasr.study.explain.plan import extend_seeds, read_plan

    if len(options.recipes) == 1:
        folder = Path(options.recipes[0]).expanduser()
        plan, given = read_plan(folder), NOT_READ
        if options.seeds is not None:
            extend_seeds(plan, options.seeds)
        if options.group or options.fix:
            raise ValueError(
                f"--group and --fix make a new plan, and {folder} has one already: give A, B and a new --out."
            )
        plan.words = options.words or plan.words
    elif len(options.recipes) == 2:
        folder = options.out
        plan, given = _new_plan(options)
        if (folder / "explain.json").is_file() and not options.plan:
            raise ValueError(
                f"{folder} already has a plan. `python -m khasr.explain {folder}` continues it; a new one needs a new "
                "--out."
            )
    else:
        print(f"{len(options.recipes)} recipes: expected A and B, or the folder of a plan.", file=sys.stderr)
        return MISTAKE
    if options.plan:
        return _print_plan(plan, given, options.jobs)
    return _run_and_report(plan, given, folder, options.max_hours, options.jobs)


def _new_plan(options: argparse.Namespace) -> tuple["Plan", Recipes]:
    from khasr import __version__
    from khasr.study.explain.factors import compare
    from khasr.study.explain.plan import build_plan, check_cells, check_words
    from khasr.study.explain.recipes import check_leaks, new_seeds, read_recipe, selection_notes, version_notes

    a, b = (read_recipe(text) for text in options.recipes)
    comparison = compare(a.options, b.options, dict(options.group), dict(options.fix))
    if "data.split" not in dict(options.fix):
        check_leaks(a, b)
    check_words(options.words)
    seeds = new_seeds(a, b, options.seeds or SEEDS)
    plan = build_plan(comparison, a.text, b.text, seeds, options.words, options.sample)
    plan.notes += [*selection_notes(a, b), *version_notes(a, b, __version__), *dict.fromkeys(a.unknown + b.unknown)]
    check_cells(plan)
    return plan, (a, b)


def _print_plan(plan: "Plan", given: Recipes, jobs: int) -> int:
    from khasr.study.explain.cost import predict
    from khasr.study.explain.wording import describe_plan

    print("\n".join(describe_plan(plan, predict(plan, *given), jobs)))
    return 0


def _run_and_report(plan: "Plan", given: Recipes, folder: Path, max_hours: float | None, jobs: int) -> int:
    from khasr.study.explain.analysis import analyse
    from khasr.study.explain.cost import predict
    from khasr.study.explain.execution import check_device, run_stages
    from khasr.study.explain.outcomes import Outcomes, read_outcomes
    from khasr.study.explain.page import write_report
    from khasr.study.explain.wording import describe_answer, describe_plan, sentence

    def stop_reason(outcomes: Outcomes) -> str:
        answer = analyse(plan, outcomes)
        return sentence(plan, answer) if answer.reproduced is False else ""

    def hours(seconds: Mapping[int, float]) -> Mapping[int, float] | None:
        cost = predict(plan, *given, seconds) if seconds else None
        return cost.hours if cost else None

    print("\n".join(describe_plan(plan, predict(plan, *given), jobs)), flush=True)
    check_device(plan)
    plan.write(folder)
    ended = run_stages(plan, folder, max_hours, jobs, stop_reason, hours)
    again = f"Continue with: python -m khasr.explain {folder}"
    if ended.code:
        print(f"{ended.reason} {again}", file=sys.stderr)
        return ended.code
    outcomes = read_outcomes(plan, folder / "runs")
    answer = analyse(plan, outcomes)
    if answer.reproduced is False or answer.parts:
        plan.reported = sorted({*plan.reported, len(plan.seeds)})
        plan.write(folder)
    print("\n" + "\n".join(describe_answer(plan, answer)))
    if ended.reason and answer.reproduced is not False:
        print(f"\n{ended.reason} {again}")
    print("\n" + "\n".join(f"  {path}" for path in write_report(plan, answer, outcomes, folder)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khasr.explain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipes", nargs="+", metavar="A B", help="two recipes (run folders or quoted overrides), or a plan's folder"
    )
    parser.add_argument("--plan", action="store_true", help="print factors, cells, runs and hours; run nothing")
    parser.add_argument("--out", type=Path, default=Path("why"), help="folder of the plan (default: %(default)s)")
    parser.add_argument("--seeds", type=_positive, help=f"seeds, each run in every cell (default: {SEEDS})")
    parser.add_argument("--max-hours", type=_hours, help="time budget; the same folder continues later")
    parser.add_argument("--jobs", type=_positive, default=1, help="runs at once on this machine (default: %(default)s)")
    parser.add_argument(
        "--group", nargs="+", action="extend", type=_group, default=[], metavar="NAME=OPTION,OPTION",
        help="options that are one factor",
    )  # fmt: skip
    parser.add_argument(
        "--fix", nargs="+", action="extend", type=_fixed, default=[], metavar="OPTION[=VALUE]",
        help="options or factors with one value in all cells (default: A's)",
    )  # fmt: skip
    parser.add_argument(
        "--sample", action=argparse.BooleanOptionalAction,
        help="sample orders of the factors in place of running all cells (default: above 5 factors)",
    )  # fmt: skip
    parser.add_argument(
        "--with", dest="words", nargs="+", action="extend", default=[], metavar="OVERRIDE",
        help="added to every run: hydra/launcher=..., logger=..., trainer.accelerator=...",
    )  # fmt: skip
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours above 0")
    return hours


def _group(text: str) -> tuple[str, list[str]]:
    name, equals, options = text.partition("=")
    if not equals or not name or not all(options.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=OPTION,OPTION")
    return name, options.split(",")


def _fixed(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    return name, yaml.safe_load(value) if equals else None


if __name__ == "__main__":
    sys.exit(guarded(main))
