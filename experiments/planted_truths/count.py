"""Counts in how many simulated studies the verdict finds what was planted, and in how many it claims what is not."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from simulated import REFERENCE, Plan, look_at_all, simulate

from khasr.study.design import build_design
from khasr.study.verdict import judge

LAYOUTS = ("one_at_a_time", "grid", "random")


def look(task: tuple[str, str, int, float, float]) -> dict[str, object]:
    """One study: what was planted, what was claimed."""
    layout, truth, seed, noise, strength = task
    runs, planted = simulate(Plan(layout, noise=noise), truth, seed, strength)
    verdict = judge(build_design(runs, reference={k: v for k, v in REFERENCE.items() if k in runs.options}), seed=seed)
    return {
        "layout": layout, "truth": truth, "seed": seed, "planted": planted, "causes": "; ".join(verdict.causes),
        "shown": "; ".join(claim.key for claim in verdict.shown), "claims": len(verdict.claims),
    }  # fmt: skip


def right(row: dict[str, object]) -> bool:
    """Whether the verdict says what is so: the planted cause and no other; of size alone, a gap and no cause."""
    if row["truth"] == "cause":
        return row["causes"] == row["planted"]
    if row["truth"] == "size":
        return row["causes"] == "" and row["shown"] != ""
    return row["shown"] == ""


def main() -> None:
    """Runs the studies and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--causes", type=int, default=20, help="studies of each layout with a planted cause")
    parser.add_argument("--sizes", type=int, default=20, help="studies of each layout with a worse size and no cause")
    parser.add_argument("--nulls", type=int, default=200, help="studies of each layout without any difference")
    parser.add_argument("--noise", type=float, default=Plan.noise, help="between seeds, in log WER")
    parser.add_argument("--strength", type=float, default=1.0, help="of what is planted; 1: 0.3 in log WER")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.csv")
    options = parser.parse_args()
    tasks = [
        (layout, truth, seed, options.noise, options.strength)
        for layout in LAYOUTS
        for truth, count in (("cause", options.causes), ("size", options.sizes), ("null", options.nulls))
        for seed in range(count)
    ]
    rows = look_at_all(look, tasks, options.out)
    print("| layout | truth | studies | verdict right | claimed anything |")
    print("| --- | --- | ---: | ---: | ---: |")
    for (layout, truth), count in Counter((r["layout"], r["truth"]) for r in rows).items():
        some = [r for r in rows if (r["layout"], r["truth"]) == (layout, truth)]
        print(f"| {layout} | {truth} | {count} | {sum(map(right, some))} | {sum(r['shown'] != '' for r in some)} |")
    sys.exit(0)


if __name__ == "__main__":
    main()
