"""The claims that a study can make about its two models, each with its test."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from khasr.study.design import LEARNED_BELOW, UNFINISHED, Design, common_support
from khasr.study.effects import Interaction
from khasr.study.equal_footing import (
    AXES,
    FEWEST_TRIALS,
    Footing,
    best_cells,
    cell_scores,
    compared_trials,
    gap,
)
from khasr.study.statistics import LEVEL, Array, Estimate, best_of_n_difference, failures_p
from khasr.study.wording import amount_of, counted, interval, points, value_text

ALPHA = 1 - LEVEL


_NO_NOISE = "no setting has two runs that learned, so that the noise between seeds is not known"


RULES = [
    "WER is val's, corpus level, of a run's best checkpoint with the run's own decoder. Both models are scored on the "
    "same utterances; runs scored on others are left out and counted.",
    f"A run has learned if it ended by itself with a WER below {100 * LEARNED_BELOW:.0f} %. Runs that diverged, failed "
    "or did not learn count as WER 100 % among the trials. They are left out of gaps and of effects of settings on WER "
    "(but where no run of a setting learned, its WER is 100 %), and have a test of their own: whether a run learns. "
    "Interrupted runs are among the trials alone.",
    "A gap is the larger model's WER less the smaller one's: above 0, the larger is worse.",
    "Noise between seeds is pooled over all settings that ran with two seeds or more, as a share of the WER, for each "
    "model; a setting that varies more than that counts with its own noise. Intervals of gaps are Welch's t intervals "
    "from it; at the reference the sampling of utterances is added (the paired bootstrap of khasr.scoring) where both "
    "models' hypotheses are there. Without repeated seeds a gap is not shown, "
    "however large: one run against one run says nothing of the models.",
    "Best of n trials is the unbiased expected lowest WER of n of the trials (Tang et al. 2020), compared at half the "
    "fewer trials; its p is from exchanging the models' names within settings.",
    "A setting is called a cause if it does another thing to the one model than to the other: the interaction of "
    "setting and size in log WER, permuted residuals (Freedman and Lane 1983), and the gap in WER points must change "
    "too, its interval (Bonferroni over the values tried) clear of 0; or the share of runs that learn at all differs "
    "between the models otherwise at one of its values than at another (names exchanged within each value). It "
    "closes the gap if at each model's best value of it a quarter of the gap or less is left and what is left may be "
    "0; else it narrows it.",
    f"All p-values on this page are one family, corrected for their number by Holm (1979); a claim is shown if its "
    f"corrected p is below {ALPHA:.2g} and its interval does not hold 0. All else is listed as not shown.",
    "Settings that a search chose (Bayes, TPE) are not random: where a search has looked more, more is known, and an "
    "effect may be that of what it chose together with it.",
]


@dataclass(frozen=True)
class Claim:
    """One thing that may be said.

    Attributes:
        key: reference, best_of_n, setting:NAME, learns:NAME, or equal:AXIS.
        question: in words.
        answer: in words, with its interval.
        corrected: p after Holm.
        why_not: what it takes, where it could not be tested.
    """

    key: str
    question: str
    answer: str
    estimate: Estimate
    corrected: float = math.nan
    shown: bool = False
    why_not: str = ""


def clear_of_zero(claim: Claim) -> bool:
    if claim.key.startswith("learns:") or claim.key == "fails":
        return True
    return bool(claim.estimate.low > 0 or claim.estimate.high < 0)


def _worse(design: Design, estimate: Estimate) -> str:
    """Which is worse, by how much, with the interval."""
    sign = -1 if estimate.value < 0 else 1
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    size = interval(Estimate(sign * estimate.value, low, high)).removeprefix("+")
    return f"{design.large} is {'better' if sign < 0 else 'worse'} by {size}"


# ---------------------------------------------------------------------------------------------------------- the claims


def gap_at_reference(design: Design, utterance_error: float) -> Claim:
    question = f"Is {design.large} worse than {design.small} at the reference settings?"
    sides = [cell_scores(design, m, design.reference_cell) for m in design.models]
    if min(map(len, sides)) == 0:
        lacking = " and ".join(m for m, s in zip(design.models, sides, strict=True) if not len(s))
        why_not = f"no run of {lacking} stands at the reference settings"
        return Claim("reference", question, "", Estimate(math.nan), why_not=why_not)
    (small, large), failed = split_learned(sides)
    estimate = gap(design, small, large, utterance_error)
    answer = (
        f"At the reference settings {_worse(design, estimate)}: {points(float(large.mean()))} % against "
        f"{points(float(small.mean()))} % ({len(large)} and {len(small)} runs{failed})"
    )
    return Claim("reference", question, answer, estimate, why_not="" if estimate.p == estimate.p else _NO_NOISE)


def split_learned(sides: list[Array]) -> tuple[list[Array], str]:
    """The runs that learned, where each side has such, and how many did not, in words; else all as they are."""
    learned = [scores[scores < LEARNED_BELOW] for scores in sides]
    if min(map(len, learned)) == 0:
        return sides, ""
    runs = sum(map(len, sides))
    lost = runs - sum(map(len, learned))
    return learned, f"; without the {lost} of {runs} that did not learn" if lost else ""


def best_of_n(design: Design, seed: int, utterance_error: float = 0.0) -> Claim:
    """Whether one model is better at its best of equally many trials, over the settings that both ran."""
    question = "Is one of them better at its best of equally many trials?"
    rows, lacking = compared_trials(design, seed=seed)
    fewest = min(map(len, rows))
    if fewest < FEWEST_TRIALS:
        why_not = f"a model has {fewest} runs that learned at values both models tried; {FEWEST_TRIALS} are needed"
        why_not += f" ({lacking})" if lacking else ""
        return Claim("best_of_n", question, "", Estimate(math.nan), why_not=why_not)
    small, large = (r["score"].to_numpy(float) for r in rows)
    trials = (small, large, list(rows[0]["cell"]), list(rows[1]["cell"]))
    n, estimate = best_of_n_difference([trials], np.random.default_rng(seed), utterances=utterance_error)
    cells = best_cells(design)
    where = "; ".join(
        f"the best setting of {m}: {c[0]}, {points(float(c[1].mean()))} % over {counted(len(c[1]), 'run')}"
        for m, c in zip(design.models, cells, strict=True)
        if c is not None
    )
    return Claim(
        "best_of_n",
        question,
        f"At each model's best of {counted(n, 'trial')} {_worse(design, estimate)}; {where}"
        + (f"; left out: {lacking}" if lacking else ""),
        estimate,
    )


def setting_claim(design: Design, found: Interaction) -> Claim:
    name = found.setting.name
    estimate = replace(found.change, p=found.p)
    question = f"Does {name} do another thing to {design.large} than to {design.small}?"
    if math.isnan(found.p):
        return Claim(
            f"setting:{name}", question, "", estimate, why_not="too few runs that learned, or not tried by both"
        )
    if found.best is None:
        return Claim(
            f"setting:{name}", question, "", estimate, why_not="a model has no run that learned at the reference value"
        )
    small, large = (value_text(v) for v in found.best)
    start = value_text(design.reference[name])
    if small == large == start:
        answer = f"Both models are at their best at {name} = {start}, where the comparison starts"
        return Claim(f"setting:{name}", question, answer, estimate)
    move = "lowers" if found.change.value < 0 else "raises"
    answer = (
        f"Taking {name} from {start} to each model's best ({design.small} {small}, {design.large} {large}) {move} the "
        f"gap by {interval(_flip(found.change)).removeprefix('+')}"
    )
    return Claim(f"setting:{name}", question, answer, estimate)


def _flip(estimate: Estimate) -> Estimate:
    sign = -1 if estimate.value < 0 else 1
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    return Estimate(sign * estimate.value, low, high)


def learning_claim(design: Design, found: Interaction) -> Claim:
    name = found.setting.name
    rows = design.table[~design.table["status"].isin(UNFINISHED)]
    said = []
    for model in design.models:
        of_model = rows[rows["model"] == model]
        values = found.setting.of(of_model)
        for value in dict.fromkeys(sorted(values, key=found.setting.values.index)):
            ended = of_model["learned"][[v == value for v in values]]
            said.append(f"{model} at {value_text(value)}: {int(ended.sum())} of {len(ended)}")
    return Claim(
        f"learns:{name}",
        f"Does {name} decide, otherwise for {design.large} than for {design.small}, whether a run learns at all?",
        f"Runs that learned, by {name}: {'; '.join(said)}",
        Estimate(math.nan, p=found.p_learning),
    )


def equal_footing_claim(design: Design, footing: Footing) -> Claim:
    words = AXES.get(footing.name, "lr")
    amount = "" if math.isnan(footing.at) else f" ({amount_of(footing.at)})"
    return Claim(
        f"equal:{footing.name}",
        f"Is one of them better at equal {words}?",
        f"At equal {words}{amount} {_worse(design, footing.gap)} ({footing.how})",
        footing.gap,
    )


def fails_more(design: Design, seed: int = 0) -> Claim:
    """Whether the runs of one model fail to learn more often, at values that both models tried."""
    question = f"Do runs of {design.large} fail to learn more or less often than runs of {design.small}?"
    rows = [design.of(m) for m in design.models]
    rows, lacking = common_support(design, [r[~r["status"].isin(UNFINISHED)] for r in rows], seed=seed)
    if min(map(len, rows)) == 0:
        return Claim("fails", question, "", Estimate(math.nan), why_not=lacking or "a model has no run that ended")
    table = pd.concat(rows)
    matched = sorted(rows[0]["cell"]) == sorted(rows[1]["cell"])
    strata = pd.factorize(table["cell"])[0] if matched else np.zeros(len(table))
    p = failures_p(
        table["learned"].to_numpy(float), (table["model"] == design.large).to_numpy(float), strata,
        np.random.default_rng(seed),
    )  # fmt: skip
    counts = [(int((~r["learned"]).sum()), len(r)) for r in rows]
    said = "; ".join(f"{m}: {bad} of {n} runs" for m, (bad, n) in zip(design.models, counts, strict=True))
    bad = [share / n for share, n in counts]
    return Claim(
        "fails",
        question,
        f"{design.large} fails to learn {'more' if bad[1] > bad[0] else 'less'} often. Did not learn: {said}",
        Estimate(math.nan, p=p),
        why_not="" if p == p else f"all or none of the runs learned ({said})",
    )
