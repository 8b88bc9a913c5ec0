"""The answer to a plan, from the runs at hand: the gap, each factor's part, interactions and failures."""

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np

from khasr.study.explain.attribution import (
    Array,
    Estimates,
    Replicates,
    bounds,
    estimate,
    estimate_each_seed,
    fieller,
    first_weights,
    gap_weights,
    last_weights,
    pair_weights,
    pairs,
    path_weights,
    shapley_weights,
)
from khasr.study.explain.outcomes import Outcomes, complete_seeds, replicates
from khasr.study.explain.plan import Plan
from khasr.study.statistics import holm


@dataclass(frozen=True)
class Part:
    """An effect on WER as a fraction, with its interval; nan where there is none.

    Attributes:
        p_holm: p corrected for the family of the gap, the factors and the interactions with size; nan outside it.
        share: part of the gap with its interval, as fractions; None where the gap's interval includes 0.
        detectable: the smallest effect that the design detects with a probability of 80 %.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    detectable: float = math.nan
    share: tuple[float, float, float] | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass
class Failures:
    """Whether runs learn, by cell."""

    cells: list[tuple[str, int, int, float]] = field(default_factory=list)  # cell, runs, learned, mean WER of those
    share_learned: list[Part] = field(default_factory=list)
    given_learned: list[Part] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether any run did not learn."""
        return any(learned < runs for _, runs, learned, _ in self.cells)


@dataclass
class Answer:
    """The result of an analysis.

    Attributes:
        stage: the last stage that was analysed: 0 the gap alone, 1 first and last changes too, 2 the whole attribution.
        reproduced: whether the gap's interval excludes 0; None if there is no interval.
        parts: Shapley values; empty before the whole attribution.
        first, last: each factor changed first in A and last into B.
        bounded: (low, high) of each Shapley value where cells cannot be run.
        by_seed: the Shapley values by one value a seed, a check against noise that differs between cells.
        not_run: cells and seeds that are missing, with the reason.
    """

    stage: int
    seeds: list[int]
    a: float
    b: float
    gap: Part
    reproduced: bool | None
    parts: list[Part] = field(default_factory=list)
    first: list[Part] = field(default_factory=list)
    last: list[Part] = field(default_factory=list)
    interactions: list[Part] = field(default_factory=list)
    by_seed: list[Part] = field(default_factory=list)
    bounded: list[tuple[float, float]] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    not_run: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    utterances: int = 0
    speakers: int = 0
    level: float = 0.95

    def shows(self, part: Part) -> bool:
        """Whether a part is shown, after correction for the number of tests."""
        return part.p_holm < 1 - self.level


def analyse(plan: Plan, outcomes: Outcomes) -> Answer:
    """The answer from the runs at hand.

    Raises:
        ValueError: no seed has both corners.
    """
    b = plan.whole - 1
    corners = complete_seeds(plan, outcomes, [0, b])
    if not corners:
        raise ValueError(
            "No seed has a run of both A and B, so there is no gap to report. "
            + ("; ".join(_missing(plan, outcomes)[:3]) or "No run has begun.")
        )
    # Each analysis with more seeds is a further test of the same hypothesis, so each has its share of the error rate.
    looks = len({*plan.reported, len(plan.seeds)})
    level = 1 - 0.05 / looks
    whole = complete_seeds(plan, outcomes)
    ends = sorted({0, b, *plan.cells(1)}) if not plan.orders else None
    with_ends = complete_seeds(plan, outcomes, ends) if ends else []
    stage = 2 if len(whole) > 1 else 1 if len(with_ends) > 1 else 0
    seeds = [corners, with_ends, whole][stage]
    runs = replicates(plan, outcomes, seeds)
    answer = _gap(plan, runs, stage, seeds, level)
    if stage >= 1 and not plan.orders:
        answer.first = _parts(plan, estimate(first_weights(len(plan.factors)), runs, level))
        answer.last = _parts(plan, estimate(last_weights(len(plan.factors)), runs, level))
    if stage == 2:
        _attribute(plan, runs, answer)
    elif not plan.orders:
        _bound(plan, outcomes, answer)
    _count_failures(plan, outcomes, answer)
    answer.not_run = _missing(plan, outcomes)
    _note(plan, outcomes, answer, looks, len(corners))
    return answer


def _gap(plan: Plan, runs: Replicates, stage: int, seeds: list[int], level: float) -> Answer:
    found = estimate(gap_weights(len(plan.factors)), runs, level)
    gap = _parts(plan, found, ["B minus A"])[0]
    means = runs.scores.mean(axis=0)
    answer = Answer(stage, seeds, float(means[0]), float(means[-1]), gap, None if math.isnan(gap.low) else gap.clear)
    answer.level = level
    answer.utterances = 0 if runs.words is None else len(runs.words)
    answer.speakers = len(set(runs.groups or ()))
    return answer


def _attribute(plan: Plan, runs: Replicates, answer: Answer) -> None:
    """Shapley values, their shares, interactions and the family's corrected p-values."""
    k = len(plan.factors)
    names = ["B minus A", *(f.name for f in plan.factors)]
    if plan.orders:
        number = {seed: i for i, seed in enumerate(plan.seeds)}
        paths = [path_weights(plan.orders[number[seed]]) for seed in answer.seeds]
        weights = np.stack([np.vstack([gap_weights(k), path]) for path in paths])
        found = estimate_each_seed(weights, runs, answer.level)
        interactions: list[Part] = []
    else:
        both = np.vstack([gap_weights(k), shapley_weights(k)])
        found = estimate(both, runs, answer.level)
        answer.by_seed = _parts(plan, estimate_each_seed(both, runs, answer.level), names)[1:]
        of_pairs = [f"{plan.factors[i].name} x {plan.factors[j].name}" for i, j in pairs(k)]
        interactions = _parts(plan, estimate(pair_weights(k), runs, answer.level), of_pairs) if of_pairs else []
    gap, *parts = _parts(plan, found, names)
    shares: list[tuple[float, float, float] | None] = []
    for row, part in enumerate(parts, 1):
        pair = np.ix_([row, 0], [row, 0])
        df = float(min(found.df[row], found.df[0]))
        ends = fieller(part.value, gap.value, found.covariance[pair], df, answer.level) if gap.clear else None
        shares.append((part.value / gap.value, *ends) if ends else None)
    with_size = [i for i, part in enumerate(interactions) if "size" in part.name.split(" x ")]
    corrected = holm([gap.p, *(p.p for p in parts), *(interactions[i].p for i in with_size)])
    answer.gap = dataclasses.replace(gap, p_holm=corrected[0])
    answer.parts = [
        dataclasses.replace(part, p_holm=p, share=share)
        for part, p, share in zip(parts, corrected[1 : k + 1], shares, strict=True)
    ]
    for i, p in zip(with_size, corrected[k + 1 :], strict=True):
        interactions[i] = dataclasses.replace(interactions[i], p_holm=p)
    answer.interactions = interactions


def _parts(plan: Plan, found: Estimates, names: list[str] | None = None) -> list[Part]:
    names = names or [f.name for f in plan.factors]
    rows = zip(names, found.values, found.intervals, found.ps, found.detectable(), strict=True)
    return [
        Part(name, float(value), float(low), float(high), float(p), detectable=float(least))
        for name, value, (low, high), p, least in rows
    ]


def _bound(plan: Plan, outcomes: Outcomes, answer: Answer) -> None:
    """Bounds of the Shapley values where a cell has no run because it cannot run, and all other cells have."""
    means = np.full(plan.whole, np.nan)
    failed = set()
    for cell in range(plan.whole):
        here = [outcomes[cell, seed] for seed in plan.seeds if (cell, seed) in outcomes]
        scores = [o.score for o in here if not o.missing]
        if scores:
            means[cell] = float(np.mean(scores))
        elif here and all(o.status == "failed" for o in here):
            failed.add(cell)
    if failed and failed == {int(c) for c in np.flatnonzero(np.isnan(means))}:
        low, high = bounds(shapley_weights(len(plan.factors)), means)
        answer.bounded = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
        names = ", ".join(plan.comparison.cell_name(cell) for cell in sorted(failed))
        answer.notes.append(
            f"{names} could not be run, so the parts are only bounded, by any WER from 0 to 100 % there; nothing is "
            "imputed."
        )


def _count_failures(plan: Plan, outcomes: Outcomes, answer: Answer) -> None:
    k, found = len(plan.factors), answer.failures
    learned = np.full((len(plan.seeds), plan.whole), np.nan)
    scores = learned.copy()
    for (cell, seed), outcome in outcomes.items():
        if not outcome.missing:
            row = plan.seeds.index(seed)
            learned[row, cell] = float(outcome.learned)
            scores[row, cell] = outcome.wer if outcome.learned else math.nan
    for cell in range(plan.whole):
        runs = int(np.isfinite(learned[:, cell]).sum())
        if runs:
            count = int(np.nansum(learned[:, cell]))
            mean = float(np.nanmean(scores[:, cell])) if count else math.nan
            found.cells.append((plan.comparison.cell_name(cell), runs, count, mean))
    if answer.stage < 2 or plan.orders or not found.any:
        return
    rows = [plan.seeds.index(seed) for seed in answer.seeds]
    shares = estimate(shapley_weights(k), Replicates(learned[rows]), answer.level)
    found.share_learned = _parts(plan, shares)
    means = _column_means(scores)
    if not np.isnan(means).any():
        values = shapley_weights(k) @ means
        found.given_learned = [Part(f.name, float(v)) for f, v in zip(plan.factors, values, strict=True)]


def _column_means(table: Array) -> Array:
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, table, 0).sum(axis=0) / known.sum(axis=0))


def _missing(plan: Plan, outcomes: Outcomes) -> list[str]:
    """Runs of the plan that are missing, by cell and reason."""
    lines: dict[str, list[int]] = {}
    for stage in range(3):
        for cell, seed in plan.jobs(stage):
            outcome = outcomes.get((cell, seed))
            if outcome is None or outcome.missing:
                status = outcome.status if outcome else "not begun"
                error = f": {' '.join(outcome.error.split())[:160]}" if outcome and outcome.error else ""
                lines.setdefault(f"{plan.comparison.cell_name(cell)} ({status}{error})", []).append(seed)
    return [f"{what}, seeds {', '.join(map(str, seeds))}" for what, seeds in lines.items()]


def _note(plan: Plan, outcomes: Outcomes, answer: Answer, looks: int, corners: int) -> None:
    if looks > 1:
        counts = ", ".join(map(str, sorted({*plan.reported, len(plan.seeds)})))
        answer.notes.append(
            f"Seeds were added after a result had been reported (reports with {counts} seeds): intervals are at "
            f"{100 * answer.level:.2f} % in place of 95 %, so that all {looks} analyses together err in 5 % of cases."
        )
    if math.isnan(answer.gap.low):
        reason = (
            "there is a single seed"
            if len(answer.seeds) < 2
            else "seeds have no effect on the WER (variance 0): training does not depend on the seed, or no run learns"
        )
        answer.notes.append(f"There is no interval, because {reason}.")
    if len(answer.seeds) < corners:
        answer.notes.append(
            f"{len(answer.seeds)} of {corners} seeds have every cell; the others are left out of the attribution."
        )
    late = [o.folder.name for o in outcomes.values() if o.status == "diverged" and o.learned]
    if late:
        answer.notes.append(f"Diverged late and judged by their best validation: {', '.join(sorted(late))}.")
    if plan.orders:
        answer.notes.append(
            "Orders of the factors are sampled, a pair of an order and its reverse for each seed; the intervals are "
            "over seeds with their orders. Changes first and last, and interactions, are not estimated."
        )
    answer.notes.append(
        "The best checkpoint of a run is selected on the same val part on which it is scored; the optimism is common "
        "to all cells where they have the same number of validations." + _without_selection(plan, outcomes, answer)
    )


def _without_selection(plan: Plan, outcomes: Outcomes, answer: Answer) -> str:
    """The gap by the last validation of each run; empty where it is not known."""
    a, b = (
        [o.last if o.learned else o.score for o in (outcomes[cell, seed] for seed in answer.seeds)]
        for cell in (0, plan.whole - 1)
    )
    gap = float(np.mean(b) - np.mean(a))
    if math.isnan(gap):
        return ""
    return f" By the last validation of each run, without selection, B minus A is {100 * gap:+.1f} points."


def effect_depends(first: Part, last: Part) -> bool:
    """Whether a factor's effect has opposite signs changed first and last, both clear of 0."""
    return first.clear and last.clear and (first.value > 0) != (last.value > 0)
