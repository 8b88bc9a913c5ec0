"""The verdict: claims from the numbers, by rules that are stated, and what is not shown."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from khasr.study.design import LEARNED_BELOW, Design, say
from khasr.study.effects import Interaction, interactions
from khasr.study.footings import (
    AXES,
    FEWEST_TRIALS,
    Footing,
    along,
    best_cells,
    cell_scores,
    equal_along_the_run,
    equal_lr,
    gap,
)
from khasr.study.statistics import LEVEL, Array, Estimate, best_of_n_difference, holm

ALPHA = 1 - LEVEL
_A_QUARTER = 0.25
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


@dataclass
class Verdict:
    """What is shown and what is not.

    Attributes:
        words: the verdict, a sentence each.
        not_shown: a sentence each.
        causes: settings that close, narrow or widen the gap, as shown.
    """

    claims: list[Claim]
    words: list[str]
    not_shown: list[str]
    causes: list[str]
    interactions: list[Interaction] = field(default_factory=list)
    footings: list[Footing] = field(default_factory=list)

    @property
    def shown(self) -> list[Claim]:
        """The claims that are shown."""
        return [claim for claim in self.claims if claim.shown]


def judge(design: Design, utterance_error: float = 0.0, seed: int = 0) -> Verdict:
    """The verdict on a design.

    Args:
        utterance_error: squared error of the gap at the reference from its utterances being a sample.
        seed: of permutations and resampling.
    """
    found = interactions(design, seed)
    rows = along(design)
    candidates = [equal_lr(design, seed)]
    if rows is not None:
        candidates += [equal_along_the_run(design, axis, rows, seed) for axis in AXES]
    footings = [footing for footing in candidates if footing is not None]
    claims = [_at_reference(design, utterance_error), _best_of_n(design, seed)]
    for interaction in found:
        claims.append(_setting(design, interaction))
        if interaction.p_learning == interaction.p_learning:
            claims.append(_learning(design, interaction))
    claims += [_footing(design, footing) for footing in footings]
    corrected = holm([claim.estimate.p for claim in claims])
    claims = [
        replace(claim, corrected=p, shown=bool(p < ALPHA and _clear_of_zero(claim)))
        for claim, p in zip(claims, corrected, strict=True)
    ]
    verdict = Verdict(claims, [], [], [], found, footings)
    _say(design, verdict)
    return verdict


def points(value: float) -> str:
    """WER as percent."""
    return f"{100 * value:.1f}"


def interval(estimate: Estimate) -> str:
    """A difference of WER in points, with its interval."""
    if math.isnan(estimate.low):
        return f"{100 * estimate.value:+.1f} points (no interval)"
    return f"{100 * estimate.value:+.1f} points [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _clear_of_zero(claim: Claim) -> bool:
    if claim.key.startswith("learns:"):
        return True
    return bool(claim.estimate.low > 0 or claim.estimate.high < 0)


def _worse(design: Design, estimate: Estimate) -> str:
    """Which is worse, by how much, with the interval."""
    sign = -1 if estimate.value < 0 else 1
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    size = interval(Estimate(sign * estimate.value, low, high)).removeprefix("+")
    return f"{design.large} is {'better' if sign < 0 else 'worse'} by {size}"


# ---------------------------------------------------------------------------------------------------------- the claims


def _at_reference(design: Design, utterance_error: float) -> Claim:
    question = f"Is {design.large} worse than {design.small} at the reference settings?"
    sides = [cell_scores(design, m, design.reference_cell) for m in design.models]
    if min(map(len, sides)) == 0:
        lacking = " and ".join(m for m, s in zip(design.models, sides, strict=True) if not len(s))
        why_not = f"no run of {lacking} stands at the reference settings"
        return Claim("reference", question, "", Estimate(math.nan), why_not=why_not)
    (small, large), failed = _learned(sides)
    estimate = gap(design, small, large, utterance_error)
    answer = (
        f"At the reference settings {_worse(design, estimate)}: {points(float(large.mean()))} % against "
        f"{points(float(small.mean()))} % ({len(large)} and {len(small)} runs{failed})"
    )
    return Claim("reference", question, answer, estimate, why_not="" if estimate.p == estimate.p else _NO_NOISE)


def _learned(sides: list[Array]) -> tuple[list[Array], str]:
    """The runs that learned, where each side has such, and how many did not, in words; else all as they are."""
    learned = [scores[scores < LEARNED_BELOW] for scores in sides]
    if min(map(len, learned)) == 0:
        return sides, ""
    runs = sum(map(len, sides))
    lost = runs - sum(map(len, learned))
    return learned, f"; without the {lost} of {runs} that did not learn" if lost else ""


def _best_of_n(design: Design, seed: int) -> Claim:
    question = "Is one of them better at its best of equally many trials?"
    rows = [design.of(m).dropna(subset=["score"]) for m in design.models]
    fewest = min(map(len, rows))
    if fewest < FEWEST_TRIALS:
        why_not = f"{fewest} trials of a model are too few; {FEWEST_TRIALS} are needed"
        return Claim("best_of_n", question, "", Estimate(math.nan), why_not=why_not)
    small, large = (r["score"].to_numpy(float) for r in rows)
    trials = (small, large, list(rows[0]["cell"]), list(rows[1]["cell"]))
    n, estimate = best_of_n_difference([trials], np.random.default_rng(seed))
    cells = best_cells(design)
    where = "; ".join(
        f"the best setting of {m}: {c[0]}, {points(float(c[1].mean()))} % over {_counted(len(c[1]), 'run')}"
        for m, c in zip(design.models, cells, strict=True)
        if c is not None
    )
    return Claim(
        "best_of_n",
        question,
        f"At each model's best of {_counted(n, 'trial')} {_worse(design, estimate)}; {where}",
        estimate,
    )


def _setting(design: Design, found: Interaction) -> Claim:
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
    small, large = (_value(v) for v in found.best)
    start = _value(design.reference[name])
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


def _learning(design: Design, found: Interaction) -> Claim:
    name = found.setting.name
    rows = design.table[design.table["status"] != "interrupted"]
    said = []
    for model in design.models:
        of_model = rows[rows["model"] == model]
        values = found.setting.of(of_model)
        for value in dict.fromkeys(sorted(values, key=found.setting.values.index)):
            ended = of_model["learned"][[v == value for v in values]]
            said.append(f"{model} at {_value(value)}: {int(ended.sum())} of {len(ended)}")
    return Claim(
        f"learns:{name}",
        f"Does {name} decide, otherwise for {design.large} than for {design.small}, whether a run learns at all?",
        f"Runs that learned, by {name}: {'; '.join(said)}",
        Estimate(math.nan, p=found.p_learning),
    )


def _footing(design: Design, footing: Footing) -> Claim:
    words = AXES.get(footing.name, "lr")
    amount = "" if math.isnan(footing.at) else f" ({amount_of(footing.at)})"
    return Claim(
        f"equal:{footing.name}",
        f"Is one of them better at equal {words}?",
        f"At equal {words}{amount} {_worse(design, footing.gap)} ({footing.how})",
        footing.gap,
    )


def amount_of(value: float) -> str:
    """So much of an axis."""
    return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.3g}"


def _value(value: tuple[object, ...]) -> str:
    return " & ".join(map(say, value))


# ----------------------------------------------------------------------------------------------------------- the words


def _say(design: Design, verdict: Verdict) -> None:
    """Fills in the words from the claims."""
    by_key = {claim.key: claim for claim in verdict.claims}
    learned = [int(design.of(m)["learned"].sum()) for m in design.models]
    if min(learned) == 0:
        nobody = " and ".join(m for m, n in zip(design.models, learned, strict=True) if not n)
        verdict.words.append(f"No run of {nobody} learned: there is nothing to compare but that.")
    for key in ("reference", "best_of_n"):
        if by_key[key].shown:
            verdict.words.append(_with_p(by_key[key]))
    for interaction in verdict.interactions:
        name = interaction.setting.name
        if by_key[f"setting:{name}"].shown:
            verdict.causes.append(name)
            verdict.words.append(
                f"{_with_p(by_key[f'setting:{name}'])} {_left_over(design, interaction, by_key['reference'])}"
            )
        learns = by_key.get(f"learns:{name}")
        if learns is not None and learns.shown:
            if name not in verdict.causes:
                verdict.causes.append(name)
            verdict.words.append(f"{name} decides whether a run learns, otherwise for each model. {_with_p(learns)}")
    if not verdict.causes:
        verdict.words.append("No setting that was tried is shown to be the cause of a difference between the models.")
    unlike = [AXES.get(name, "lr") for name in ("lr", *AXES) if f"equal:{name}" not in by_key]
    if unlike:
        verdict.not_shown.append(
            f"Anything at equal {', '.join(unlike)}: the runs have none of it in common, or did not log it."
        )
    for claim in verdict.claims:
        if claim.key.startswith("equal:") and claim.shown:
            verdict.words.append(_with_p(claim))
        elif not claim.shown and not claim.key.startswith("learns:"):
            verdict.not_shown.append(_unshown(claim))
    undecided = [
        claim.key.removeprefix("learns:")
        for claim in verdict.claims
        if claim.key.startswith("learns:") and not claim.shown
    ]
    if undecided:
        verdict.not_shown.append(
            f"That whether a run learns at all depends on {', '.join(undecided)} otherwise for {design.large} than for "
            f"{design.small} ({fails_more(design)[0]})."
        )
    if verdict_on := _compared(design):
        verdict.not_shown.append(verdict_on)


def _with_p(claim: Claim) -> str:
    return f"{claim.answer} (p = {claim.corrected:.2g} after Holm)."


def _unshown(claim: Claim) -> str:
    if claim.why_not:
        return f"{claim.question} Could not be tested: {claim.why_not}." + (
            f" Seen: {claim.answer}." if claim.answer else ""
        )
    return f"{claim.question} Not shown (p = {claim.corrected:.2g} after Holm). Seen: {claim.answer}."


def _left_over(design: Design, found: Interaction, reference: Claim) -> str:
    """What a setting leaves of the gap at the reference."""
    assert found.best is not None
    cells = [design.cell(design.reference | {found.setting.name: value}) for value in found.best]
    sides = [cell_scores(design, m, cell) for m, cell in zip(design.models, cells, strict=True)]
    if min(map(len, sides)) == 0 or math.isnan(reference.estimate.value):
        return "What is left of the gap there was not run with all else at the reference."
    both, failed = _learned(sides)
    left, before = gap(design, both[0], both[1]), reference.estimate.value
    what = f"The gap there is {interval(left)}{failed.replace(';', ',')}, at the reference {100 * before:+.1f}"
    if found.change.value > 0:
        return f"{what}: tuning it helps {design.small} more."
    if left.high < 0:
        return f"{what}: that overturns it."
    if before > 0 and left.low <= 0 and left.value <= _A_QUARTER * before:
        return f"{what}: that closes it."
    return f"{what}: that narrows it."


def _compared(design: Design) -> str:
    said = [*design.left_out]
    if design.fixed:
        differ = "differs" if len(design.fixed) == 1 else "differ"
        said.append(
            f"{', '.join(design.fixed)} {differ} between the models and never within one, and cannot be told from the "
            "model"
        )
    single = [s.name for s in design.settings if len(s.columns) > 1]
    if single:
        said.append(f"always changed together, and cannot be told apart: {'; '.join(single)}")
    return f"Left out or not to be told: {'; '.join(said)}." if said else ""


def fails_more(design: Design) -> tuple[str, float]:
    """How many runs of each model did not learn, in words, and Fisher's exact p of that being the same."""
    rows = design.table[design.table["status"] != "interrupted"]
    counts = [(int((~r["learned"]).sum()), len(r)) for r in (rows[rows["model"] == m] for m in design.models)]
    p = float(stats.fisher_exact([[bad, n - bad] for bad, n in counts])[1])
    return "; ".join(
        f"{m}: {bad} of {n} runs did not learn" for m, (bad, n) in zip(design.models, counts, strict=True)
    ), p
