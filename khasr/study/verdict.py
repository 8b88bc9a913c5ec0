"""The verdict: claims from the numbers, by rules that are stated, and what is not shown."""

import math
from dataclasses import dataclass, field, replace

from khasr.study.claims import (
    ALPHA,
    Claim,
    best_of_n,
    clear_of_zero,
    equal_footing_claim,
    fails_more,
    gap_at_reference,
    learning_claim,
    setting_claim,
    split_learned,
)
from khasr.study.confounding import explain_arguments, recipe_text
from khasr.study.design import Design
from khasr.study.effects import Interaction, interactions
from khasr.study.equal_footing import (
    AXES,
    Footing,
    along,
    cell_scores,
    equal_along_the_run,
    equal_lr,
    gap,
)
from khasr.study.statistics import holm
from khasr.study.wording import interval

_A_QUARTER = 0.25


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
        utterance_error: squared error of a gap between the models from the utterances being a sample; in every gap.
        seed: of permutations and resampling.
    """
    if design.confounded:
        return Verdict([], confounded_words(design), [compared] if (compared := _compared(design)) else [], [])
    found = interactions(design, seed)
    rows = along(design)
    candidates = [equal_lr(design, seed, utterance_error)]
    if rows is not None:
        candidates += [equal_along_the_run(design, axis, rows, seed, utterance_error) for axis in AXES]
    footings = [footing for footing in candidates if footing is not None]
    claims = [gap_at_reference(design, utterance_error), best_of_n(design, seed, utterance_error)]
    claims.append(fails_more(design, seed))
    for interaction in found:
        claims.append(setting_claim(design, interaction))
        if interaction.p_learning == interaction.p_learning:
            claims.append(learning_claim(design, interaction))
    claims += [equal_footing_claim(design, footing) for footing in footings]
    corrected = holm([claim.estimate.p for claim in claims])
    claims = [
        replace(claim, corrected=p, shown=bool(p < ALPHA and clear_of_zero(claim)))
        for claim, p in zip(claims, corrected, strict=True)
    ]
    verdict = Verdict(claims, [], [], [], found, footings)
    _say(design, verdict)
    return verdict


# ----------------------------------------------------------------------------------------------------------- the words


def confounded_words(design: Design) -> list[str]:
    """What is said of models that differ in options beside their size everywhere: that, and the way out."""
    names = ", ".join(design.confounded)
    values = "; ".join(f"{m} had {recipe_text(design, m)}" for m in design.models)
    a, b = explain_arguments(design)
    return [
        f"These runs cannot show whether {design.large} is worse than {design.small}: {names} "
        f"{'differs' if len(design.confounded) == 1 else 'differ'} between the models in every run ({values}). A "
        "difference of WER between them may come from the size, from these options, or from both. "
        "No comparison is made.",
        f"To separate them, run both recipes and what lies between them: python -m khasr.explain {a} {b} --plan",
    ]


def _say(design: Design, verdict: Verdict) -> None:
    """Fills in the words from the claims."""
    by_key = {claim.key: claim for claim in verdict.claims}
    learned = [int(design.of(m)["learned"].sum()) for m in design.models]
    if min(learned) == 0:
        nobody = " and ".join(m for m, n in zip(design.models, learned, strict=True) if not n)
        verdict.words.append(f"No run of {nobody} learned: there is nothing to compare but that.")
    for key in ("reference", "best_of_n", "fails"):
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
            f"{design.small} ({by_key['fails'].answer or by_key['fails'].why_not})."
        )
    if verdict_on := _compared(design):
        verdict.not_shown.append(verdict_on)


def _with_p(claim: Claim) -> str:
    return f"{claim.answer}."


def _unshown(claim: Claim) -> str:
    if claim.why_not:
        return f"{claim.question} Could not be tested: {claim.why_not}." + (
            f" Seen: {claim.answer}." if claim.answer else ""
        )
    return f"{claim.question} Not shown. Seen: {claim.answer}."


def _left_over(design: Design, found: Interaction, reference: Claim) -> str:
    """What a setting leaves of the gap at the reference."""
    assert found.best is not None
    cells = [design.cell(design.reference | {found.setting.name: value}) for value in found.best]
    sides = [cell_scores(design, m, cell) for m, cell in zip(design.models, cells, strict=True)]
    if min(map(len, sides)) == 0 or math.isnan(reference.estimate.value):
        return "What is left of the gap there was not run with all else at the reference."
    both, failed = split_learned(sides)
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
