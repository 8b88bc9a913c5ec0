"""The sections of the page that compare two models."""

import math

from khasr.study import figures
from khasr.study.claims import fails_more
from khasr.study.design import Design
from khasr.study.elements import (
    Pictures,
    Section,
    Table,
    amount_cell,
    columns_of,
    digits_cell,
    needed_cell,
    number_cell,
    percent_cell,
    text_cell,
)
from khasr.study.equal_footing import AXES, LR, along
from khasr.study.sections import (
    DIFFERENCES,
    HYPOTHESES_ARE_IN,
    lr_picture,
    seeds_section,
    settings_section,
    trials_section,
)
from khasr.study.statistics import Estimate, expected_best, utterances_needed
from khasr.study.utterances import Errors
from khasr.study.verdict import Verdict
from khasr.study.wording import interval
from khasr.text.counting import counted


def compared_trials_section(design: Design, verdict: Verdict, pictures: Pictures) -> Section:
    """The expected best WER of both models, and where the curves cross."""
    section = trials_section(design, pictures)
    curves = [expected_best(design.of(m)["score"].dropna().to_numpy(float)) for m in design.models]
    n = min(map(len, curves))
    claim = next((c for c in verdict.claims if c.key == "best_of_n"), None)
    if not n or claim is None:
        return section
    below = curves[1][:n] < curves[0][:n]
    first = int(below.argmax()) + 1
    if not below.any():
        text = f"{design.large}'s expected best is not below {design.small}'s at any number of trials up to {n}."
    elif below.all():
        text = f"{design.large}'s expected best is lower at every number of trials up to {n}."
    elif below[first - 1 :].all():
        text = f"{design.large}'s expected best is lower from {first} trials on."
    else:
        text = f"The curves cross more than once; {design.large}'s is lower for the first time at {first} trials."
    section.words.append(
        f"{text} These are all trials, also at values that one model alone tried. At values that both tried: "
        f"{claim.answer or claim.why_not} ({'shown' if claim.shown else 'not shown'})."
    )
    return section


def compared_settings_section(design: Design, pictures: Pictures) -> Section:
    """Which settings matter for each model, and whether the models fail to learn equally often."""
    section = settings_section(design, pictures)
    if design.settings:
        section.words.append("size × setting: the share that only the two together explain.")
        fails = fails_more(design)
        section.words.append(f"Whether runs learn: {fails.answer or fails.why_not}.")
    return section


def compared_seeds_section(design: Design, errors: Errors | None, pictures: Pictures) -> Section:
    """The spread over seeds, and the number of seeds and of utterances that a difference takes."""
    section = seeds_section(design, pictures)
    if errors is None:
        section.words.append("The number of utterances needed is not known without hypotheses of both models.")
        return section
    edits = (errors.table["edits_large"] - errors.table["edits_small"]).to_numpy(float)
    words = errors.table["words"].to_numpy(float)
    rows = [[number_cell(100 * d, 1), needed_cell(utterances_needed(edits, words, d), 1)] for d in DIFFERENCES]
    title = (
        f"Utterances needed to detect a difference between two runs (paired, 5 %, power 80 %), from {errors.runs[0]} "
        f"and {errors.runs[1]} on {len(words)} of {errors.part}"
    )
    section.tables.append(Table(title, columns_of("#difference, points", "#utterances"), rows))
    return section


def footings_section(design: Design, pictures: Pictures) -> Section:
    """Pictures of the models at equal lr, audio, area under the lr and FLOPs; the verdict has the numbers."""
    section = Section("footings", "Equal footing", "The models on equal footing")
    section.words.append(
        "Before its end, a run is read off at its last validation, while its lr has not yet decayed: a longer run is "
        "not what a shorter one would have been. The table of the verdict therefore compares finished runs only."
    )
    if LR in design.table and design.table[LR].gt(0).any():
        section.pictures.append(lr_picture(design, pictures))
    rows = along(design)
    if rows is None:
        section.words.append("The metrics lack audio seconds or lr, so only equal lr can be shown.")
        return section
    for axis, label in AXES.items():
        figure = figures.along_the_run(design, rows, axis, label)
        caption = "Thin: each run. Bold: the lowest WER so far. Dotted: the amount at which the models are compared."
        section.pictures.append(pictures.add(f"equal_{axis}", figure, f"WER against {label}", caption))
    return section


def footings_table(design: Design, verdict: Verdict) -> Table:
    """The gap on each equal footing, with its p and whether it is shown."""
    claims = {claim.key: claim for claim in verdict.claims}
    found = {footing.name: footing for footing in verdict.footings}
    rows = []
    for name, label in {"lr": "lr", **AXES}.items():
        if name not in found:
            blank = [text_cell("", "n")] * 5
            rows.append([text_cell(label), amount_cell(math.nan), text_cell("too little in common", "soft"), *blank])
            continue
        f, claim = found[name], claims[f"equal:{name}"]
        rows.append(
            [text_cell(label), amount_cell(f.at), text_cell(f.how, "wide"), percent_cell(f.small),
             percent_cell(f.large), text_cell(interval(f.gap)), digits_cell(claim.corrected),
             text_cell("shown" if claim.shown else "not shown", "" if claim.shown else "soft")]
        )  # fmt: skip
    columns = columns_of(
        "equal", "#at", "compared", f"#{design.small}, %", f"#{design.large}, %", "gap", "#p after Holm", "verdict"
    )
    return Table(f"WER on equal footing; gap: {design.large} minus {design.small}", columns, rows)


def footing_lines(verdict: Verdict) -> list[tuple[str, str, str]]:
    """The gap on each equal footing for the terminal: its name, the gap, and whether it is shown."""
    shown = {claim.key for claim in verdict.shown}
    return [
        (AXES.get(f.name, f.name), interval(f.gap), "shown" if f"equal:{f.name}" in shown else "not shown")
        for f in verdict.footings
    ]


def errors_section(design: Design, errors: Errors | None) -> Section:
    """The worst and the most changed utterances of the best run of each model."""
    section = Section("errors", "Errors", "The worst and the most changed utterances")
    if errors is None:
        section.words.append(f"There are no hypotheses of both models on the same utterances. {HYPOTHESES_ARE_IN}")
        return section
    section.words.append(
        f"The best run of each model, {errors.runs[0]} and {errors.runs[1]}, on "
        f"{counted(len(errors.table), 'utterance')} of {errors.part}. The difference is between these two runs, each "
        "chosen as its model's best, not between the models: the verdict takes the seeds into account."
    )
    d, s = errors.difference, errors.segments
    tests = [
        [text_cell("paired bootstrap over utterances"), text_cell(interval(Estimate(*d))), digits_cell(d.p)],
        [text_cell(f"matched pairs, {counted(s.segments, 'segment')}"), text_cell(""), digits_cell(s.p)],
    ]
    section.tables.append(Table("The difference between the two runs", columns_of("test", "difference", "#p"), tests))
    if errors.why_no_audio:
        section.words.append(f"No audio: {errors.why_no_audio}.")
    section.utterances = [("The worst", errors.worst), ("The most changed", errors.changed)]
    if not errors.changed:
        section.words.append("Every utterance has as many errors in one run as in the other.")
        section.utterances.pop()
    return section


def claims_table(verdict: Verdict) -> Table:
    """All claims with their tests."""
    rows = [
        [text_cell(c.question, "wide"), text_cell("shown" if c.shown else "not shown", "" if c.shown else "soft"),
         text_cell(interval(c.estimate) if c.estimate.value == c.estimate.value else "-"),
         digits_cell(c.estimate.p), digits_cell(c.corrected), text_cell(c.why_not or c.answer, "wide")]
        for c in verdict.claims
    ]  # fmt: skip
    columns = columns_of("question", "verdict", "gap, or its change", "#p", "#p after Holm", "observed")
    return Table("All claims that were tested, as one family", columns, rows)
