"""The answer as text: the first sentence of the report, and the lines for the terminal."""

import math

from khasr.study.explain.analysis import Answer, Part, effect_depends
from khasr.study.explain.cost import Cost
from khasr.study.explain.plan import STAGES, Plan


def points(value: float) -> str:
    """A difference of WER in points, with its sign."""
    return "" if math.isnan(value) else f"{100 * value:+.1f}"


def span(part: Part) -> str:
    """The interval of a part in points."""
    return "no interval" if math.isnan(part.low) else f"[{points(part.low)}, {points(part.high)}]"


def sentence(plan: Plan, answer: Answer) -> str:
    """The answer in one sentence, or two."""
    gap = answer.gap
    worse = "worse" if gap.value > 0 else "better"
    wers = f"A has a WER of {100 * answer.a:.1f} % and B of {100 * answer.b:.1f} %, {len(answer.seeds)} seeds each"
    if answer.reproduced is None:
        return f"{wers}: a difference of {points(gap.value)} points, without an interval."
    if not answer.reproduced:
        return (
            f"Not reproduced: {wers}, B minus A {points(gap.value)} points {span(gap)}, so there is nothing to "
            f"decompose. A true difference of {100 * gap.detectable:.1f} points would have been detected with a "
            "probability of 80 %."
        )
    opening = f"Of the {100 * abs(gap.value):.1f} points {span(gap)} by which B is {worse} than A"
    if answer.bounded:
        between = ", ".join(
            f"{f.name} for {points(low)} to {points(high)}"
            for f, (low, high) in zip(plan.factors, answer.bounded, strict=True)
        )
        return f"{opening}, only bounds are known, because cells could not be run: {between}."
    if not answer.parts:
        return f"{opening}, the parts are not known yet: {STAGES[2]} are needed, and the runs of some are missing."
    ordered = sorted(answer.parts, key=lambda part: -abs(part.value))
    accounted = [
        f"{part.name} accounts for {points(part.value)} {span(part)}" for part in ordered if answer.shows(part)
    ]
    unclear = [f"{part.name} ({points(part.value)} {span(part)})" for part in ordered if not answer.shows(part)]
    if not accounted:
        listed = ", ".join(unclear)
        return f"{opening}, no single factor's part is shown after correction for the number of tests: {listed}."
    text = f"{opening}, {' and '.join(accounted)}"
    return text + (f"; not shown: {', '.join(unclear)}." if unclear else ".")


def dependences(answer: Answer) -> list[str]:
    """Factors whose effect has opposite signs changed first and last."""
    return [
        f"The effect of {first.name} depends on the other factors: {points(first.value)} {span(first)} changed first, "
        f"in A, and {points(last.value)} {span(last)} changed last, into B."
        for first, last in zip(answer.first, answer.last, strict=True)
        if effect_depends(first, last)
    ]


def describe_plan(plan: Plan, cost: Cost | None, jobs: int) -> list[str]:
    """The factors, cells, runs and hours, for the terminal."""
    k = len(plan.factors)
    width = max(len(f.name) for f in plan.factors)
    lines = [f"A: {plan.a or '(no overrides)'}", f"B: {plan.b or '(no overrides)'}", "", f"{k} factors (A -> B):"]
    lines += [f"  {factor.name:{width}}  {factor.describe()}" for factor in plan.factors]
    cells = len({cell for stage in range(len(STAGES)) for cell, _ in plan.jobs(stage)})
    design = "orders of the factors sampled, one and its reverse for each seed" if plan.orders else f"all {cells} cells"
    lines += ["", f"{design}, {len(plan.seeds)} seeds ({', '.join(map(str, plan.seeds))}): {plan.runs} runs"]
    total = 0.0
    for stage, name in enumerate(STAGES):
        runs = list(plan.jobs(stage))
        if not runs:
            continue
        line = f"  stage {stage + 1}, {name}: {len(runs)} runs"
        if cost is not None:
            hours = sum(cost.hours[cell] for cell, _ in runs)
            total += hours
            line += f", {_hours(hours)}"
        lines.append(line + ("; the others follow only if B minus A is clear of 0" if stage == 0 else ""))
    if cost is None:
        lines.append(
            "Hours are not predicted: the number of utterances is not known. Give a run's folder as A or B, or see the "
            "hours after stage 1."
        )
    else:
        price = "" if cost.price is None else f", {cost.price * total:,.0f} USD at {cost.price:.2f} USD an hour"
        wall = f", {_hours(total / jobs)} with {jobs} jobs" if jobs > 1 else ""
        lines.append(
            f"Predicted: {_hours(total)}{wall}{price} ({cost.source}; validation and starting up not included)"
        )
    return [*lines, *(["", *(f"- {note}" for note in plan.notes)] if plan.notes else [])]


def _hours(hours: float) -> str:
    return f"{60 * hours:.1f} min" if hours < 1 else f"{hours:,.1f} h"


def describe_answer(plan: Plan, answer: Answer) -> list[str]:
    """The answer for the terminal: the sentence, the parts, what was not run."""
    lines = [sentence(plan, answer), *dependences(answer)]
    if answer.parts:
        width = max(len(f.name) for f in plan.factors)
        lines += ["", f"  {'points':{width}}  {'part':>6}  interval          first    last"]
        for i, part in enumerate(answer.parts):
            first = points(answer.first[i].value) if answer.first else ""
            last = points(answer.last[i].value) if answer.last else ""
            lines.append(f"  {part.name:{width}}  {points(part.value):>6}  {span(part):16}  {first:>6}  {last:>6}")
    if answer.failures.any:
        cells = [f"{name} {runs - learned} of {runs}" for name, runs, learned, _ in answer.failures.cells]
        lines += ["", f"Runs that did not learn (WER taken as 100 %): {', '.join(cells)}."]
    if answer.not_run:
        lines += ["", "Not run:", *(f"  {line}" for line in answer.not_run[:8])]
        lines += [f"  and {len(answer.not_run) - 8} more"] if len(answer.not_run) > 8 else []
    return [*lines, "", *(f"- {note}" for note in [*plan.notes, *answer.notes])]
