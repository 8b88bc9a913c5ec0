"""Counts false claims of a gap between two equal models, in the situations in which comparisons commonly go wrong.

false_claims.py [--studies 200] [--processes 2]
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from simulated import REFERENCE, Plan, look_at_all, simulate

from khasr.study.design import build_design
from khasr.study.runs import Runs
from khasr.study.verdict import judge

UTTERANCES = 0.008
"""Standard deviation of the difference of two equal models' WER from the val utterances being a sample."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        gaps_only: count claims of a gap alone, where the models differ in how often they fail.
    """

    name: str
    plan: Plan
    confounded: bool = False
    gaps_only: bool = False


ROWS = {
    "recipes": Row("each size only at its own recipe; lr alone matters", Plan(seeds=6, failures=0), True),
    "disjoint": Row("disjoint ranges of lr, same model", Plan("grid", failures=0), True),
    "one_value": Row("small tried at two lr, large at one of them only", Plan("grid", failures=0)),
    "utterances": Row("val is a sample of utterances (sd 0.8 points)", Plan()),
    "noise": Row("equal means, noise between seeds 3 % and 12 %", Plan(noise=0.03, noise_large=0.12, failures=0)),
    "runs": Row("same noise, 65 and 15 runs", Plan(settings=2, seeds=13, seeds_large=3, failures=0)),
    "failures": Row("a quarter of the large model's runs fail", Plan(failures=0, failures_large=0.25), gaps_only=True),
    "one_at_a_time": Row("nothing differs, one setting at a time", Plan()),
    "grid": Row("nothing differs, grid", Plan("grid")),
    "random": Row("nothing differs, random search", Plan("random")),
}


def look(task: tuple[str, int]) -> dict[str, object]:
    """One study: what was claimed, and whether the comparison was refused."""
    key, seed = task
    row = ROWS[key]
    runs, _ = simulate(row.plan, "null", seed)
    runs = _prepare(key, runs, np.random.default_rng(10_000 + seed))
    reference = {k: v for k, v in REFERENCE.items() if k in runs.options and runs.table[k].nunique() > 1}
    if row.confounded or key == "one_value":
        reference.pop("optimizer.lr", None)
    design = build_design(runs, reference=reference if key != "recipes" else None)
    verdict = judge(design, UTTERANCES**2 if key == "utterances" else 0.0, seed)
    shown = [c.key for c in verdict.shown if not (row.gaps_only and c.key == "fails")]
    found = [c.key for c in verdict.shown if c.key == "fails"]
    return {
        "row": key, "seed": seed, "claimed": "; ".join(shown), "refused": int(bool(design.confounded)),
        "fails_found": len(found),
    }  # fmt: skip


def _prepare(key: str, runs: Runs, rng: np.random.Generator) -> Runs:
    """Applies what the row does to the simulated runs."""
    table = runs.table
    lr, large = table["optimizer.lr"], table["model"] == "large"
    if key == "recipes":
        at_reference = np.logical_and.reduce([table[k] == v for k, v in REFERENCE.items()])
        table = table[at_reference].copy()
        of_large = table["model"] == "large"
        table.loc[of_large, ["optimizer.lr", "schedule.warmup"]] = [2e-4, 0.1]
        table.loc[of_large, "wer"] *= 1.2
    elif key == "disjoint":
        table = table[np.where(large, lr == 1e-2, lr != 1e-2)]
    elif key == "one_value":
        table = table[np.where(large, lr == 1e-3, lr != 1e-2)]
    elif key == "utterances":
        table = table.copy()
        table.loc[large, "wer"] += rng.normal(0, UTTERANCES)
    return replace(runs, table=table.reset_index(drop=True), curves=runs.curves[runs.curves["run"].isin(table["run"])])


def main() -> None:
    """Runs the studies and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="of each row (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="at once (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "false_claims.csv")
    options = parser.parse_args()
    tasks = [(key, seed) for key in options.rows for seed in range(options.studies)]
    found = look_at_all(look, tasks, options.out, options.processes)
    print("| simulated study | studies | refused | claimed a difference | claimed that one fails more often |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for key in options.rows:
        some = [f for f in found if f["row"] == key]
        claimed, refused = sum(f["claimed"] != "" for f in some), sum(int(str(f["refused"])) for f in some)
        fails = sum(int(str(f["fails_found"])) for f in some)
        print(f"| {ROWS[key].name} | {len(some)} | {refused} | {claimed} | {fails} |")


if __name__ == "__main__":
    main()
