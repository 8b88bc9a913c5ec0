"""Counts the simulated studies in which the verdict finds what was planted, at several strengths.

count.py [--studies 40]      adds the studies that results.csv lacks, and prints the table
"""

import argparse
from pathlib import Path

from simulated import REFERENCE, Plan, look_at_all, simulate

from khasr.study.design import build_design
from khasr.study.verdict import judge

LAYOUTS = ("one_at_a_time", "grid", "random")
TRUTHS = ("cause", "size")


def look(task: tuple[str, str, int, float, float]) -> dict[str, object]:
    """One study: what was planted and what was claimed."""
    layout, truth, seed, noise, strength = task
    runs, planted = simulate(Plan(layout, noise=noise), truth, seed, strength)
    verdict = judge(build_design(runs, reference={k: v for k, v in REFERENCE.items() if k in runs.options}), seed=seed)
    return {
        "layout": layout, "truth": truth, "seed": seed, "noise": noise, "strength": strength, "planted": planted,
        "causes": "; ".join(verdict.causes), "shown": "; ".join(claim.key for claim in verdict.shown),
        "claims": len(verdict.claims),
    }  # fmt: skip


def is_right(row: dict[str, str]) -> bool:
    """Whether the verdict is right: the planted cause and no other; for a worse size, a gap and no cause."""
    return row["causes"] == row["planted"] and row["shown"] != ""


def names_wrong_cause(row: dict[str, str]) -> bool:
    """Whether the verdict names a setting that was not planted."""
    return bool({*row["causes"].split("; ")} - {row["planted"], ""})


def main() -> None:
    """Runs the studies and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=40, help="of each row (default: %(default)s)")
    parser.add_argument("--noise", type=float, default=Plan.noise, help="between seeds, in log WER")
    parser.add_argument("--strengths", type=float, nargs="+", default=[1.0, 0.5, 0.25], help="1: 0.3 in log WER")
    parser.add_argument("--processes", type=int, default=1, help="at once (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.csv")
    options = parser.parse_args()
    rows = [(truth, layout, strength) for truth in TRUTHS for layout in LAYOUTS for strength in options.strengths]
    tasks = [
        (layout, truth, seed, options.noise, strength)
        for seed in range(options.studies)
        for truth, layout, strength in rows
    ]
    found = look_at_all(look, tasks, options.out, options.processes)
    print("| planted | layout | strength | studies | right | anything shown | a wrong cause |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for truth, layout, strength in rows:
        some = [r for r in found if (r["truth"], r["layout"], r["strength"]) == (truth, layout, str(strength))]
        right, shown, wrong = (sum(map(f, some)) for f in (is_right, lambda r: r["shown"] != "", names_wrong_cause))
        print(f"| {truth} | {layout} | {strength:g} | {len(some)} | {right} | {shown} | {wrong} |")


if __name__ == "__main__":
    main()
