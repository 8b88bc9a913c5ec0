"""Counts false claims of a gap between two equal models, in the situations in which comparisons commonly go wrong.

false_claims.py [--studies 200]      adds the studies that false_claims.csv lacks, and prints the table
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from simulated import REFERENCE, Plan, look_at_all, sample_utterances, simulate

from khasr.study.design import build_design
from khasr.study.runs import Runs
from khasr.study.utterances import utterance_error
from khasr.study.verdict import judge

UTTERANCES, UTTERANCE_SD = 120, 0.008
"""Utterances of val, and the standard deviation of the difference of two equal models' WER that comes from them."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        fails: the large model fails more often, so that this claim is true and any other false.
    """

    name: str
    plan: Plan
    confounded: bool = False
    fails: bool = False


ROWS = {
    "recipes": Row("each size only at its own recipe; lr alone matters", Plan(seeds=6, failures=0), True),
    "disjoint": Row("disjoint ranges of lr, same model", Plan("grid", failures=0), True),
    "one_value": Row("small tried at two lr, large at one of them only", Plan("grid", failures=0)),
    "utterances": Row("nothing differs, val is a sample of 120 utterances (sd 0.8 points)", Plan()),
    "noise": Row("equal means, noise between seeds 3 % and 12 %", Plan(noise=0.03, noise_large=0.12, failures=0)),
    "runs": Row("same noise, 65 and 15 runs", Plan(settings=2, seeds=13, seeds_large=3, failures=0)),
    "failures": Row("a quarter of the large model's runs fail", Plan(failures=0, failures_large=0.25), fails=True),
    "failures_by_lr": Row(
        "the same, and a third of both models' runs at one lr",
        Plan("grid", failures=0, failures_large=0.25),
        fails=True,
    ),
    "one_at_a_time": Row("nothing differs, one setting at a time", Plan()),
    "grid": Row("nothing differs, grid", Plan("grid")),
    "random": Row("nothing differs, random search", Plan("random")),
}


def look(task: tuple[str, int]) -> dict[str, object]:
    """One study: what was claimed, and whether the comparison was refused."""
    key, seed = task
    row = ROWS[key]
    runs, _ = simulate(row.plan, "null", seed)
    runs = _prepare(key, runs, seed)
    reference = {k: v for k, v in REFERENCE.items() if k in runs.options and runs.table[k].nunique() > 1}
    if row.confounded or key == "one_value":
        reference.pop("optimizer.lr", None)
    design = build_design(runs, reference=reference if key != "recipes" else None)
    verdict = judge(design, utterance_error(design, design.reference_cell), seed)
    shown = [claim.key for claim in verdict.shown]
    return {
        "row": key, "seed": seed, "claimed": "; ".join(k for k in shown if not (row.fails and k == "fails")),
        "refused": int(bool(design.confounded)), "fails_found": int("fails" in shown),
    }  # fmt: skip


def _prepare(key: str, runs: Runs, seed: int) -> Runs:
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
        return sample_utterances(runs, UTTERANCES, UTTERANCE_SD, 10_000 + seed)
    elif key == "failures_by_lr":
        table = table.copy()
        fails = (lr == 1e-2) & (np.random.default_rng(10_000 + seed).random(len(table)) < 1 / 3)
        table.loc[fails, ["status", "wer", "cer"]] = ["diverged", np.nan, np.nan]
    return replace(runs, table=table.reset_index(drop=True), curves=runs.curves[runs.curves["run"].isin(table["run"])])


def main() -> None:
    """Runs the studies and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="of each row (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="at once (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "false_claims.csv")
    options = parser.parse_args()
    tasks = [(key, seed) for seed in range(options.studies) for key in options.rows]
    found = look_at_all(look, tasks, options.out, options.processes)
    print("| simulated study | studies | refused | claimed a difference | claimed that one fails more often |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for key in options.rows:
        some = [f for f in found if f["row"] == key]
        claimed, refused = sum(f["claimed"] != "" for f in some), sum(int(f["refused"]) for f in some)
        fails = sum(int(f["fails_found"]) for f in some)
        print(f"| {ROWS[key].name} | {len(some)} | {refused} | {claimed} | {fails} |")


if __name__ == "__main__":
    main()
