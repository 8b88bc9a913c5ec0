"""The sections of the page, each from a study's design."""

import math

import pandas as pd

from khasr.study import figures
from khasr.study.claims import fails_more
from khasr.study.design import Design
from khasr.study.effects import Effect, main_effects
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
from khasr.study.equal_footing import AXES, LR, along, best_cells, noises
from khasr.study.importance import Importance, importances
from khasr.study.instruments import Instrument, read_instruments
from khasr.study.statistics import expected_best, seeds_needed, utterances_needed
from khasr.study.utterances import Errors, compare_errors
from khasr.study.verdict import Verdict
from khasr.study.wording import interval, say

_DIFFERENCES = (0.005, 0.01, 0.02, 0.05, 0.1)  # of WER


_MOST_ROWS = 2000


# ------------------------------------------------------------------------------------------------------------- sections


def curves_section(design: Design, pictures: "Pictures") -> Section:
    best = {m: c[0] for m, c in zip(design.models, best_cells(design), strict=True) if c is not None}
    section = Section("curves", "Learning curves", "1. Learning curves, by model and setting")
    figure = figures.learning_curves(design, best)
    section.pictures.append(
        pictures.add("learning_curves", figure, "WER on val against the share of the run, for each model",
                     "Each run thin; the mean over the seeds of the reference (dashed) and of each model's best "
                     "setting (solid); dotted, the model card's 13 rows, of the card's validation part.")
    )  # fmt: skip
    rows = design.table.groupby(["model", "cell"])
    table = [
        [text_cell(model), text_cell(cell, "wide"), number_cell(len(r), 0),
         percent_cell(r["score"].mean()), percent_cell(r["score"].min()),
         percent_cell(r["score"].max()), number_cell(int((~r["learned"] & (r["status"] != "interrupted")).sum()), 0)]
        for (model, cell), r in rows
    ]  # fmt: skip
    columns = columns_of("model", "setting", "#runs", "#WER, %", "#lowest", "#highest", "#not learned")
    section.tables.append(Table("Each setting: WER on val, mean over its runs", columns, table))
    return section


def best_section(design: Design, verdict: Verdict, pictures: "Pictures") -> Section:
    section = Section("trials", "Best of n", "2. Best WER against the number of trials")
    section.pictures.append(
        pictures.add("best_of_n", figures.best_of_n(design), "Expected best WER against the number of trials",
                     "The expected lowest WER of n of the trials, without bias (Tang et al. 2020); bands: 80 and 95 % "
                     "under resampling of the trials, too narrow towards the right end, where few runs decide.")
    )  # fmt: skip
    curves = [expected_best(design.of(m)["score"].dropna().to_numpy(float)) for m in design.models]
    n = min(map(len, curves))
    if n:
        below = curves[1][:n] < curves[0][:n]
        first = int(below.argmax()) + 1
        if not below.any():
            said = f"On the trials that were made {design.large} does not overtake {design.small} within {n} trials."
        elif below.all():
            said = f"{design.large}'s expected best is lower at every number of trials up to {n}."
        elif below[first - 1 :].all():
            said = f"{design.large} overtakes {design.small} after {first} trials."
        else:
            said = f"The curves cross more than once; {design.large} is first lower at {first} trials."
        claim = next((c for c in verdict.claims if c.key == "best_of_n"), None)
    if n and claim is not None:
        section.words.append(f"{said} Whether that is more than chance: {claim.answer or claim.why_not} "
                             f"({'shown' if claim.shown else 'not shown'}).")  # fmt: skip
        table = [[number_cell(i + 1, 0), *(percent_cell(c[i]) for c in curves)] for i in range(n)]
        section.tables.append(
            Table("Expected best WER on val, %", columns_of("#trials", *(f"#{m}" for m in design.models)), table)
        )
    return section


def settings_section(design: Design, pictures: "Pictures") -> Section:
    section = Section("settings", "Settings", "3. Which setting matters")
    if not design.settings:
        section.words.append("No setting varies within a model.")
        return section
    shares: dict[str, list[Importance]] = {m: importances(design, m) for m in design.models}
    shares["both, with size"] = importances(design, None)
    if any(shares.values()):
        section.pictures.append(
            pictures.add("importance", figures.importance(shares), "Share of the variance of WER by setting",
                         "Functional ANOVA of a random forest (Hutter et al. 2014) over all combinations of the values "
                         "tried, over the runs that learned; size × setting: what only the two together explain.")
        )  # fmt: skip
        rows = [
            [
                text_cell(name),
                text_cell(i.setting),
                number_cell(100 * i.share, 1),
                number_cell(100 * i.low, 1),
                number_cell(100 * i.high, 1),
            ]
            for name, found in shares.items()
            for i in found
        ]
        columns = columns_of("runs of", "setting", "#share, %", "#lowest refit", "#highest refit")
        section.tables.append(Table("Share of the variance explained", columns, rows))
    else:
        section.words.append("Importance needs 8 runs of a model; there are fewer.")
    effects = main_effects(design)
    if effects:
        section.pictures.append(
            pictures.add("main_effects", figures.main_effects(design, effects), "Main effect of each value",
                         "The WER at a value less that at the reference, all else as it was: least squares over the "
                         "runs that learned, 95 % t intervals, not corrected for their number.")
        )  # fmt: skip
        section.tables.append(effects_table(effects))
    fails = fails_more(design)
    section.words.append(f"Whether runs learn at all: {fails.answer or fails.why_not}.")
    return section


def effects_table(effects: list[Effect]) -> Table:
    rows = [
        [text_cell(e.model), text_cell(e.setting), text_cell(" & ".join(map(say, e.value))), number_cell(e.runs, 0),
         *(number_cell(100 * v, 1) for v in (e.estimate.value, e.estimate.low, e.estimate.high))]
        for e in effects
    ]  # fmt: skip
    return Table(
        "Main effects, points of WER",
        columns_of("model", "setting", "value", "#runs", "#effect", "#low", "#high"),
        rows,
    )


def seeds_section(design: Design, pictures: "Pictures") -> Section:
    section = Section("seeds", "Seeds", "4. Spread over seeds, and what it takes to tell a difference")
    section.pictures.append(
        pictures.add(
            "seeds", figures.seeds(design), "WER of each run by setting", "Each point a run; the best settings first."
        )
    )
    noise = noises(design)
    rows = []
    for model in design.models:
        level = design.of(model)["score"].min()
        n = noise[model]
        if n.df:
            section.words.append(
                f"{model}: runs of one setting differ by their seeds by {100 * n.share:.1f} % of the WER (standard "
                f"deviation, 95 % interval {100 * n.low:.1f} to {100 * n.high:.1f}, {n.df} degrees of freedom)."
            )
        for difference in _DIFFERENCES:
            needed = seeds_needed(n.share * level, difference) if n.df and n.share > 0 else None
            at_most = seeds_needed(n.high * level, difference) if n.df and n.high > 0 else None
            rows.append(
                [
                    text_cell(model),
                    number_cell(100 * difference, 1),
                    needed_cell(needed, n.df),
                    needed_cell(at_most, n.df),
                ]
            )
    columns = columns_of(
        "model, at its best WER", "#difference, points", "#seeds for each side", "#by the noise's upper end"
    )
    section.tables.append(Table("Seeds needed (two-sided t test at 5 %, power 80 %)", columns, rows))
    both = compare_errors(design, 1, audio=False)
    if both is not None:
        edits = (both.table["edits_large"] - both.table["edits_small"]).to_numpy(float)
        words = both.table["words"].to_numpy(float)
        lines = [[number_cell(100 * d, 1), needed_cell(utterances_needed(edits, words, d), 1)] for d in _DIFFERENCES]
        title = (
            f"Utterances needed (paired, 5 %, power 80 %), from {both.runs[0]} and {both.runs[1]} "
            f"on {len(words)} of {both.part}"
        )
        section.tables.append(Table(title, columns_of("#difference, points", "#utterances"), lines))
    else:
        section.words.append("Utterances needed: not known without the hypotheses of a run of each model.")
    return section


def footings_section(design: Design, verdict: Verdict, pictures: "Pictures") -> Section:
    section = Section("footings", "Equal footing", "5. The two models on equal footing")
    section.words.append(
        "Along a run, WER is read off on the way, before its schedule has ended; that is the same for both models, "
        "and no run as it would have been had it been planned to end there."
    )
    if LR in design.table and design.table[LR].gt(0).any():
        section.pictures.append(
            pictures.add(
                "equal_lr",
                figures.against_lr(design),
                "WER against peak lr",
                "Equal lr: each run, and the lowest at each lr.",
            )
        )
    rows = along(design)
    if rows is not None:
        for axis, label in AXES.items():
            picture = figures.along_the_run(design, rows, axis, label)
            section.pictures.append(
                pictures.add(f"equal_{axis}", picture, f"WER against {label}", f"Equal {label}; thin: runs.")
            )
    else:
        section.words.append("The metrics lack audio seconds or lr, so that only equal lr can be looked at.")
    table = [
        [text_cell(f.name), amount_cell(f.at), text_cell(f.how),
         percent_cell(f.small), percent_cell(f.large), text_cell(interval(f.gap))]
        for f in verdict.footings
    ]  # fmt: skip
    columns = columns_of("equal", "#at", "compared", f"#{design.small}, %", f"#{design.large}, %", "gap")
    section.tables.append(Table("Expected best WER on each footing", columns, table))
    return section


def instruments_section(design: Design, pictures: "Pictures") -> Section:
    section = Section("instruments", "Instruments", "6. The instruments of the winners and the losers")
    found = read_instruments(design)
    if not found:
        section.words.append("The runs logged no instruments.")
        return section
    section.words.append("The best and the worst quarter of each model's runs, by WER on val.")
    section.pictures.append(
        pictures.add(
            "instruments",
            figures.instruments(design, found),
            "Instruments over the run",
            "Solid: best runs; dotted: worst.",
        )
    )
    groups = [(m, g) for m in design.models for g in ("best", "worst")]
    section.tables.append(_instrument_table(found, groups))
    return section


def _instrument_table(found: list[Instrument], groups: list[tuple[str, str]]) -> Table:
    rows = [
        [
            text_cell(i.name),
            *(digits_cell(i.median.get(g, math.nan)) for g in groups),
            *(digits_cell(i.last.get(g, math.nan)) for g in groups),
        ]
        for i in found
    ]
    names = [f"#{m}, {g}: {what}" for what in ("median", "last") for m, g in groups]
    return Table(
        "Instruments: median over the run, and at its end (medians over runs)", columns_of("instrument", *names), rows
    )


def errors_section(design: Design, errors: Errors | None) -> Section:
    section = Section("errors", "Errors", "7. Errors: the worst and the most changed utterances")
    if errors is None:
        section.words.append(
            "There are no hypotheses of both models on the same utterances: run folders have them (hypotheses.tsv), "
            "tables and offline folders of wandb do not."
        )
        return section
    d, s = errors.difference, errors.segments
    section.words.append(
        f"The best run of each model, {errors.runs[0]} and {errors.runs[1]}, on {len(errors.table)} utterances of "
        f"{errors.part}. These two runs differ by {100 * d.value:+.1f} points of WER [{100 * d.low:+.1f}, "
        f"{100 * d.high:+.1f}] (paired bootstrap over utterances, p = {d.p:.2g}; matched pairs, p = {s.p:.2g} over "
        f"{s.segments} segments). That is of two runs, each picked as its model's best, and not of the models: "
        "seeds are in the verdict."
    )
    if errors.why_no_audio:
        section.words.append(f"No audio: {errors.why_no_audio}.")
    section.utterances = [("The worst", errors.worst), ("The most changed", errors.changed)]
    if not errors.changed:
        section.words.append("No utterance has more edits in the one run than in the other.")
        section.utterances.pop()
    return section


def runs_section(design: Design) -> Section:
    runs = design.runs
    section = Section("runs", "Runs", "All runs")
    section.words.append(f"{count_statuses(runs.table)}. The whole table: runs.parquet and runs.csv beside this page.")
    if design.left_out:
        section.words.append(f"In no comparison, or not in all: {'; '.join(design.left_out)}.")
    section.words += [f"Not read: {note}" for note in runs.notes]
    varied = [c for s in design.settings for c in s.columns]
    shown = [c for c in ("run", "status", "model", "seed", *varied) if c in runs.table]
    rows = []
    for row in runs.table.head(_MOST_ROWS).to_dict("records"):
        status = str(row["status"])
        cells = [
            text_cell(row[c]) if c != "status" else text_cell(status, "" if status == "completed" else "bad")
            for c in shown
        ]
        cells += [percent_cell(row[c]) for c in ("wer", "cer", "test_wer")]
        cells += [number_cell(row["steps"], 0), text_cell(row["error"] if isinstance(row["error"], str) else "")]
        rows.append(cells)
    names = [c if c in ("run", "status", "model") else f"#{c}" for c in shown]
    columns = columns_of(*names, "#val WER, %", "#val CER, %", "#test WER, %", "#steps", "error")
    section.tables.append(Table("Every run that was found", columns, rows))
    if len(runs.table) > _MOST_ROWS:
        section.words.append(f"The table shows the first {_MOST_ROWS:,} of {len(runs.table):,} runs.")
    return section


def claims_table(verdict: Verdict) -> Table:
    rows = [
        [text_cell(c.question, "wide"), text_cell("shown" if c.shown else "not shown", "" if c.shown else "soft"),
         text_cell(interval(c.estimate) if c.estimate.value == c.estimate.value else "-"),
         digits_cell(c.estimate.p), digits_cell(c.corrected), text_cell(c.why_not or c.answer, "wide")]
        for c in verdict.claims
    ]  # fmt: skip
    columns = columns_of("question", "answer", "gap, or its change", "#p", "#p after Holm", "seen")
    return Table("All claims that were tested, one family", columns, rows)


def describe_runs(design: Design) -> str:
    return f"{count_statuses(design.runs.table)}. Compared: {design.large} (the larger) less {design.small}."


def count_statuses(table: pd.DataFrame) -> str:
    by_status = table["status"].value_counts()
    return f"{len(table)} runs: {', '.join(f'{count} {status}' for status, count in by_status.items())}"


def describe_reference(design: Design) -> str:
    values = ", ".join(f"{name} = {' & '.join(map(say, value))}" for name, value in design.reference.items())
    return f"{values} ({design.reference_from})" if values else "nothing varies"
