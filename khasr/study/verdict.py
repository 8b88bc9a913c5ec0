"""The verdict on a study: the claims that are shown, by the stated rules, and those that are not."""

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
    """The claims of a study.

    Attributes:
        words: the sentences of the verdict.
        not_shown: a sentence for each claim that is not shown.
        causes: settings that are shown to affect the models differently.
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
    if len(design.models) == 1:
        return Verdict([], [], [], [])
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
    _write_sentences(design, verdict)
    return verdict


# ----------------------------------------------------------------------------------------------------------- the words


def confounded_words(design: Design) -> list[str]:
    """The sentences for models that differ in further options in every run, with the command that separates them."""
    names = ", ".join(design.confounded)
    values = "; ".join(f"{m} had {recipe_text(design, m)}" for m in design.models)
    a, b = explain_arguments(design)
    return [
        f"These runs cannot show whether {design.large} is worse than {design.small}: {names} "
        f"{'differs' if len(design.confounded) == 1 else 'differ'} between the models in every run ({values}). A "
        "difference of WER between them may come from the size, from these options, or from both. "
        "No comparison is made.",
        f"To separate them, run both recipes and the combinations between them: python -m khasr.explain {a} {b} --plan",
    ]


def _write_sentences(design: Design, verdict: Verdict) -> None:
    """Fills in `words`, `not_shown` and `causes` from the claims."""
    by_key = {claim.key: claim for claim in verdict.claims}
    learned = [int(design.of(m)["learned"].sum()) for m in design.models]
    if min(learned) == 0:
        nobody = " and ".join(m for m, n in zip(design.models, learned, strict=True) if not n)
        verdict.words.append(f"No run of {nobody} learned, so its WER cannot be compared.")
    for key in ("reference", "best_of_n", "fails"):
        if by_key[key].shown:
            verdict.words.append(f"{by_key[key].answer}.")
    for interaction in verdict.interactions:
        name = interaction.setting.name
        if by_key[f"setting:{name}"].shown:
            verdict.causes.append(name)
            verdict.words.append(
                f"{by_key[f'setting:{name}'].answer}. {_remaining_gap(design, interaction, by_key['reference'])}"
            )
        learns = by_key.get(f"learns:{name}")
        if learns is not None and learns.shown:
            if name not in verdict.causes:
                verdict.causes.append(name)
            verdict.words.append(f"{name} affects whether a run learns, differently in each model. {learns.answer}.")
    if not verdict.causes:
        verdict.words.append("No setting that was tried is shown to be the cause of a difference between the models.")
    for claim in verdict.claims:
        # Equal footings are a table of the report.
        if not claim.shown and not claim.key.startswith(("learns:", "equal:")):
            verdict.not_shown.append(_unshown(claim))
    undecided = [
        claim.key.removeprefix("learns:")
        for claim in verdict.claims
        if claim.key.startswith("learns:") and not claim.shown
    ]
    if undecided:
        verdict.not_shown.append(
            f"Does {' or '.join(undecided)} affect whether runs of {design.large} learn, differently from "
            f"{design.small}? Not shown. Observed: {by_key['fails'].answer or by_key['fails'].why_not}."
        )
    if verdict_on := _compared(design):
        verdict.not_shown.append(verdict_on)


def _unshown(claim: Claim) -> str:
    if claim.why_not:
        return f"{claim.question} Could not be tested: {claim.why_not}." + (
            f" Observed: {claim.answer}." if claim.answer else ""
        )
    return f"{claim.question} Not shown. Observed: {claim.answer}."


def _remaining_gap(design: Design, found: Interaction, reference: Claim) -> str:
    """The gap with each model at its best value of a setting, beside the gap at the reference."""
    assert found.best is not None
    cells = [design.cell(design.reference | {found.setting.name: value}) for value in found.best]
    both, failed = split_learned([cell_scores(design, m, c) for m, c in zip(design.models, cells, strict=True)])
    if min(map(len, both)) == 0 or math.isnan(reference.estimate.value):
        return (
            "The remaining gap is not known: no run that learned has these values with all other settings at the "
            "reference."
        )
    left, before = gap(design, both[0], both[1]), reference.estimate.value
    what = f"The gap there is {interval(left)}{failed.replace(';', ',')}, at the reference {100 * before:+.1f}"
    if found.change.value > 0:
        return f"{what}: tuning it helps {design.small} more, which widens the gap."
    if left.high < 0:
        return f"{what}: this reverses it."
    if before > 0 and left.low <= 0 and left.value <= _A_QUARTER * before:
        return f"{what}: this closes it."
    return f"{what}: this narrows it."


def _compared(design: Design) -> str:
    notes = [*design.left_out]
    if design.fixed:
        differ = "differs" if len(design.fixed) == 1 else "differ"
        notes.append(f"{', '.join(design.fixed)} {differ} between the models in every run, so not separable from size")
    single = [s.name for s in design.settings if len(s.columns) > 1]
    if single:
        notes.append(f"always changed together, so not separable: {'; '.join(single)}")
    return f"Left out or not separable: {'; '.join(notes)}." if notes else ""
