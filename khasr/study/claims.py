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
from khasr.study.wording import amount_of, interval, points, value_text
from khasr.text.counting import counted

ALPHA = 1 - LEVEL


_NO_NOISE = "no setting has two runs that learned, so the noise between seeds is not known"


RULES = [
    "WER is the corpus-level WER on val of a run's best checkpoint with the run's own decoder. Runs scored on "
    "different utterances or references from the rest are left out and counted.",
    f"A run has learned if its WER is below {100 * LEARNED_BELOW:.0f} %; one that diverged is judged by its best "
    "checkpoint. Gaps and effects on WER are of runs that learned; whether runs learn is tested separately. A run that "
    "failed (an error or a lost machine) or was interrupted is missing, and in no comparison.",
    "If an option differs between the models in every run, or the models have no value of a setting in common, no "
    "comparison is made: a difference in WER may come from that option as well as from the size.",
    "A gap is the larger model's WER minus the smaller one's: above 0, the larger is worse.",
    "The noise between seeds is a share of the WER, pooled for each model over all settings with two or more runs; a "
    "setting with a larger spread counts with its own. The interval of the gap at the reference settings is Welch's t "
    "interval from this noise. Without repeated seeds that gap is not shown, however large.",
    "Val is a sample of utterances: where both models' hypotheses at the reference settings are known, the paired "
    "bootstrap over utterances is added to the variance of every gap (at the reference, best of n, equal footings).",
    "Best of n and equal footings compare runs that learned, at values that both models tried; where the models share "
    "combinations of settings, equally many runs of each combination, drawn at random.",
    "Best of n is the unbiased expected lowest WER of n trials (Tang et al. 2020), n being half the smaller number of "
    "trials. Its p is the larger of two: from exchanging the models' names within combinations of settings, and from "
    "Welch's test of the mean WER, in the same direction. Its interval is from resampling trials.",
    "Equal lr: best of n at each lr that both models tried, averaged. Equal audio, area under the lr and FLOPs: best "
    "of n among the runs that had ended by the largest amount that both models reached; their lengths may differ.",
    "A model fails to learn more often if exchanging the models' names within combinations of settings shows it.",
    "A setting is a cause if it affects the models differently. Either the interaction of setting and size in log WER "
    "is shown by permuting residuals (Freedman and Lane 1983), and the change of the gap, in points, when each model "
    "moves to its best value has an interval (Bonferroni over the values) that excludes 0. Or the difference between "
    "the models in the share of runs that learn varies over its values, by the larger p of two exact tests: exchanging "
    "the models' names within each value, and the values within each model.",
    "A cause closes the gap if, with each model at its best value, at most a quarter of the gap at the reference is "
    "left and its interval includes 0; it reverses the gap if the interval is below 0; otherwise it narrows or widens "
    "it.",
    f"All p-values on this page are one family, corrected for their number (Holm 1979). A claim is shown if its "
    f"corrected p is below {ALPHA:.2g} and its interval, where it has one, excludes 0. All others are listed as not "
    "shown.",
    "Settings chosen by a search (Bayes, TPE) are not random: more is known where it searched more, and an effect may "
    "be that of settings chosen together.",
]


@dataclass(frozen=True)
class Claim:
    """A statement about the models, with its test.

    Attributes:
        key: reference, best_of_n, fails, setting:NAME, learns:NAME, or equal:AXIS.
        answer: with its interval.
        corrected: p after Holm's correction.
        why_not: the reason why it could not be tested; empty if it was.
    """

    key: str
    question: str
    answer: str
    estimate: Estimate
    corrected: float = math.nan
    shown: bool = False
    why_not: str = ""


def clear_of_zero(claim: Claim) -> bool:
    """Whether the claim's interval excludes 0; True for claims on failures, which have no interval."""
    if claim.key.startswith("learns:") or claim.key == "fails":
        return True
    return bool(claim.estimate.low > 0 or claim.estimate.high < 0)


def _worse(design: Design, estimate: Estimate) -> str:
    """Which model is worse, and by how much, with the interval."""
    sign = -1 if estimate.value < 0 else 1
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    size = interval(Estimate(sign * estimate.value, low, high)).removeprefix("+")
    return f"{design.large} is {'better' if sign < 0 else 'worse'} by {size}"


# ---------------------------------------------------------------------------------------------------------- the claims


def gap_at_reference(design: Design, utterance_error: float) -> Claim:
    """Whether one model is worse at the reference settings."""
    question = f"Is {design.large} worse than {design.small} at the reference settings?"
    sides = [cell_scores(design, m, design.reference_cell) for m in design.models]
    if min(map(len, sides)) == 0:
        lacking = " and ".join(m for m, s in zip(design.models, sides, strict=True) if not len(s))
        why_not = f"there is no run of {lacking} at the reference settings"
        return Claim("reference", question, "", Estimate(math.nan), why_not=why_not)
    (small, large), failed = split_learned(sides)
    if min(len(small), len(large)) == 0:
        never = " and ".join(m for m, s in zip(design.models, (small, large), strict=True) if not len(s))
        why_not = f"no run of {never} learned at the reference settings"
        return Claim("reference", question, "", Estimate(math.nan), why_not=why_not)
    estimate = gap(design, small, large, utterance_error)
    answer = (
        f"At the reference settings {_worse(design, estimate)}: {points(float(large.mean()))} % against "
        f"{points(float(small.mean()))} % ({len(large)} and {counted(len(small), 'run')}{failed})"
    )
    return Claim("reference", question, answer, estimate, why_not="" if estimate.p == estimate.p else _NO_NOISE)


def split_learned(sides: list[Array]) -> tuple[list[Array], str]:
    """The runs that learned, and a phrase with the number that did not; empty if all did."""
    learned = [scores[scores < LEARNED_BELOW] for scores in sides]
    runs = sum(map(len, sides))
    lost = runs - sum(map(len, learned))
    return learned, f"; without the {lost} of {runs} that did not learn" if lost else ""


def best_of_n(design: Design, seed: int, utterance_error: float = 0.0) -> Claim:
    """Whether one model is better at its best of equally many trials, at values that both tried."""
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
    """Whether a setting affects the WER of one model differently from the other's."""
    name = found.setting.name
    estimate = replace(found.change, p=found.p)
    question = f"Does {name} affect {design.large} differently from {design.small}?"
    if math.isnan(found.p):
        return Claim(
            f"setting:{name}",
            question,
            "",
            estimate,
            why_not="too few runs learned, or only one model tried its values",
        )
    if found.best is None:
        return Claim(
            f"setting:{name}", question, "", estimate, why_not="a model has no run at the reference value that learned"
        )
    small, large = (value_text(v) for v in found.best)
    start = value_text(design.reference[name])
    if small == large == start:
        answer = f"Both models are best at {name} = {start}, the reference value"
        return Claim(f"setting:{name}", question, answer, estimate)
    move = "lowers" if found.change.value < 0 else "raises"
    answer = (
        f"Changing {name} from {start} to each model's best ({design.small} {small}, {design.large} {large}) {move} "
        f"the gap by {interval(_flip(found.change)).removeprefix('+')}"
    )
    return Claim(f"setting:{name}", question, answer, estimate)


def _flip(estimate: Estimate) -> Estimate:
    sign = -1 if estimate.value < 0 else 1
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    return Estimate(sign * estimate.value, low, high)


def learning_claim(design: Design, found: Interaction) -> Claim:
    """Whether a setting affects whether runs of one model learn differently from the other's."""
    name = found.setting.name
    rows = design.table[~design.table["status"].isin(UNFINISHED)]
    counts = []
    for model in design.models:
        of_model = rows[rows["model"] == model]
        values = found.setting.of(of_model)
        for value in dict.fromkeys(sorted(values, key=found.setting.values.index)):
            ended = of_model["learned"][[v == value for v in values]]
            counts.append(f"{model} at {value_text(value)}: {int(ended.sum())} of {len(ended)}")
    return Claim(
        f"learns:{name}",
        f"Does {name} affect whether runs of {design.large} learn, differently from {design.small}?",
        f"Runs that learned, by {name}: {'; '.join(counts)}",
        Estimate(math.nan, p=found.p_learning),
    )


def equal_footing_claim(design: Design, footing: Footing) -> Claim:
    """Whether one model is better at an equal footing."""
    words = AXES.get(footing.name, "lr")
    amount = "" if math.isnan(footing.at) else f" ({amount_of(footing.at)})"
    return Claim(
        f"equal:{footing.name}",
        f"Is one of them better at equal {words}?",
        f"At equal {words}{amount} {_worse(design, footing.gap)} ({footing.how})",
        footing.gap,
    )


def fails_more(design: Design, seed: int = 0) -> Claim:
    """Whether runs of one model fail to learn more often, at values that both models tried."""
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
    shown = "; ".join(f"{m}: {bad} of {n} runs" for m, (bad, n) in zip(design.models, counts, strict=True))
    bad = [count / n for count, n in counts]
    return Claim(
        "fails",
        question,
        f"{design.large} fails to learn {'more' if bad[1] > bad[0] else 'less'} often. Did not learn: {shown}",
        Estimate(math.nan, p=p),
        why_not="" if p == p else f"all or none of the runs learned ({shown})",
    )
