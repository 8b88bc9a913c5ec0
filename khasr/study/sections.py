"""The sections of the page that describe runs, of one model or of two."""

import math

import pandas as pd

from khasr.study import figures
from khasr.study.design import LEARNED_BELOW, UNFINISHED, Design
from khasr.study.effects import Effect, main_effects
from khasr.study.elements import (
    Picture,
    Pictures,
    Section,
    Table,
    TableCell,
    amount_cell,
    columns_of,
    digits_cell,
    needed_cell,
    number_cell,
    percent_cell,
    text_cell,
)
from khasr.study.equal_footing import LR, best_cells, noises
from khasr.study.hours import hours_curves, hours_sentences
from khasr.study.importance import Importance, importances
from khasr.study.instruments import Instrument, read_instruments, telling
from khasr.study.overview import by_cell, edges, outcomes, tried_values
from khasr.study.statistics import Array, expected_best, seeds_needed
from khasr.study.wording import say
from khasr.study.worst_utterances import worst_utterances
from khasr.text.counting import counted

DIFFERENCES = (0.005, 0.01, 0.02, 0.05, 0.1)
"""Differences of WER for which seeds and utterances are counted."""


HYPOTHESES_ARE_IN = "Run folders contain them (hypotheses.tsv); tables and offline folders of wandb do not."


_MOST_ROWS = 2000


def tried_section(design: Design) -> Section:
    """What was run and what was not, how runs ended, and best values at an edge."""
    section = Section("tried", "Runs tried", "What was run")
    tried = tried_values(design)
    if tried:
        rows = [
            [text_cell(t.setting, "wide"), text_cell(t.value)]
            + [cell for runs, scores in zip(t.runs, t.scores, strict=True) for cell in _count_and_mean(runs, scores)]
            for t in tried
        ]
        names = [f"#{m}: {what}" for m in design.models for what in ("runs", "mean WER, %")]
        title = "Runs at each value of each setting, all other settings taken together"
        section.tables.append(Table(title, columns_of("setting", "value", *names), rows))
    else:
        section.words.append("No setting varies within a model.")
    counts = [
        [text_cell(o.model), *(number_cell(n, 0) for n in (o.runs, o.learned, o.not_learned, o.diverged)),
         *(number_cell(n, 0) for n in (o.diverged_late, o.failed, o.interrupted, o.pruned))]
        for o in outcomes(design)
    ]  # fmt: skip
    columns = columns_of(
        "model", "#runs", "#learned", f"#WER {100 * LEARNED_BELOW:.0f} % or more", "#diverged",
        "#diverged late", "#failed", "#interrupted", "#pruned",
    )  # fmt: skip
    section.tables.append(Table("How the runs ended", columns, counts))
    found = edges(design)
    if found:
        rows = [
            [text_cell(e.model), text_cell(e.option, "wide"), amount_cell(e.low), amount_cell(e.high),
             number_cell(e.count, 0), amount_cell(e.best), text_cell(e.end or "no", "bad" if e.end else "soft")]
            for e in found
        ]  # fmt: skip
        columns = columns_of("model", "option", "#lowest tried", "#highest tried", "#values", "#best", "at the edge")
        section.tables.append(Table("Where each model's best setting is within the values tried", columns, rows))
    return section


def _count_and_mean(runs: int, scores: Array) -> list[TableCell]:
    if not runs:
        return [TableCell("not run", "0", "n bad"), TableCell("", "", "n")]
    return [number_cell(runs, 0), percent_cell(float(scores.mean()) if len(scores) else math.nan)]


def curves_section(design: Design, pictures: Pictures) -> Section:
    """Learning curves, and the WER of each combination of settings."""
    best = {m: c[0] for m, c in zip(design.models, best_cells(design), strict=True) if c is not None}
    section = Section("curves", "Learning curves", "Learning curves")
    caption = "WER on val along the run. Each thin line is a run, each bold one the mean over the runs of one setting."
    figure = figures.learning_curves(design, best)
    section.pictures.append(pictures.add("learning_curves", figure, "WER on val against the share of the run", caption))
    rows = []
    for cell, at in by_cell(design):
        cells = [text_cell(cell, "wide")]
        for runs in at:
            scores = runs["score"].dropna().to_numpy(float)
            unlearned = int((~runs["learned"] & ~runs["status"].isin(UNFINISHED)).sum())
            cells += [*_count_and_mean(len(runs), scores), *(percent_cell(v) for v in _ends(scores))]
            cells.append(number_cell(unlearned, 0) if len(runs) else TableCell("", "", "n"))
        rows.append(cells)
    what = ("runs", "mean WER, %", "lowest", "highest", "not learned")
    names = [f"#{m}: {w}" if len(design.models) > 1 else f"#{w}" for m in design.models for w in what]
    section.tables.append(Table("WER on val of each combination of settings", columns_of("setting", *names), rows))
    return section


def _ends(scores: Array) -> tuple[float, float]:
    return (float(scores.min()), float(scores.max())) if len(scores) else (math.nan, math.nan)


def trials_section(design: Design, pictures: Pictures) -> Section:
    """The expected best WER against the number of trials."""
    section = Section("trials", "Best of n", "Best WER against the number of trials")
    section.pictures.append(
        pictures.add("best_of_n", figures.best_of_n(design), "Expected best WER against the number of trials",
                     "The expected lowest WER of n trials, unbiased (Tang et al. 2020). Bands: 80 and 95 % when the "
                     "trials are resampled; too narrow at the right end, where few runs decide.")
    )  # fmt: skip
    curves = [expected_best(design.of(m)["score"].dropna().to_numpy(float)) for m in design.models]
    n = min(map(len, curves))
    if n:
        rows = [[number_cell(i + 1, 0), *(percent_cell(c[i]) for c in curves)] for i in range(n)]
        columns = columns_of("#trials", *(f"#{m}" for m in design.models))
        section.tables.append(Table("Expected best WER on val, %", columns, rows))
    return section


def settings_section(design: Design, pictures: Pictures) -> Section:
    """The importance of the settings and the effect of each value."""
    section = Section("settings", "Settings", "Which settings matter")
    if not design.settings:
        section.words.append("No setting varies within a model.")
        return section
    if len(design.models) == 1 and LR in design.table and design.table[LR].gt(0).any():
        section.pictures.append(lr_picture(design, pictures))
    shares: dict[str, list[Importance]] = {m: importances(design, m) for m in design.models}
    if len(design.models) > 1:
        shares["both, with size"] = importances(design, None)
    if any(shares.values()):
        section.pictures.append(
            pictures.add("importance", figures.importance(shares), "Share of the variance of WER by setting",
                         "Functional ANOVA of a random forest (Hutter et al. 2014) over all combinations of the values "
                         "tried, from the runs that learned.")
        )  # fmt: skip
        rows = [
            [text_cell(name), text_cell(i.setting), *(number_cell(100 * v, 1) for v in (i.share, i.low, i.high))]
            for name, found in shares.items()
            for i in found
        ]
        columns = columns_of("runs of", "setting", "#share, %", "#lowest refit", "#highest refit")
        section.tables.append(Table("Share of the variance explained", columns, rows))
    else:
        section.words.append("The importance of settings needs 8 runs of a model that learned; there are fewer.")
    effects = main_effects(design)
    if effects:
        section.pictures.append(
            pictures.add("main_effects", figures.main_effects(design, effects), "Main effect of each value",
                         "WER at a value minus that at the reference, all other settings equal: least squares over the "
                         "runs that learned, 95 % t intervals, not corrected for the number of values.")
        )  # fmt: skip
        section.tables.append(_effects_table(effects))
    return section


def hours_sections(design: Design, pictures: Pictures, more: float | None) -> list[Section]:
    """WER against hours of training audio, if data.train_hours varies: one section or none."""
    curves = hours_curves(design, more)
    if not curves:
        return []
    section = Section("hours", "Hours", "WER against hours of training audio")
    for curve in curves:
        section.words += hours_sentences(curve)
        section.words += [f"{curve.model}: {note}" for note in curve.notes]
        if curve.others:
            section.words.append(f"{curve.model}, the other settings: {curve.others}.")
    section.words.append(
        "The power law is a line through the logarithms of hours and mean WER. Its interval covers the noise between "
        "seeds and the sampling of val's utterances, not a floor or a bend beyond the sizes that were run, nor audio "
        "of other speakers, rooms or texts."
    )
    caption = "Each small point is a run. The band is the 95 % interval of the mean over seeds."
    section.pictures.append(
        pictures.add("hours", figures.hours(curves), "WER against hours of training audio", caption)
    )
    rows = [
        [text_cell(curve.model), digits_cell(size.hours), number_cell(len(size.scores), 0), percent_cell(size.mean),
         *(percent_cell(v) for v in _ends(size.scores))]
        for curve in curves
        for size in curve.sizes
    ]  # fmt: skip
    columns = columns_of("model", "#hours", "#runs", "#mean WER, %", "#lowest", "#highest")
    section.tables.append(Table("WER on val by hours of training audio", columns, rows))
    return [section]


def lr_picture(design: Design, pictures: Pictures) -> Picture:
    """The WER of each run against its peak lr."""
    caption = "Each point is a run; the line joins the lowest WER at each lr."
    return pictures.add("equal_lr", figures.against_lr(design), "WER against peak lr", caption)


def _effects_table(effects: list[Effect]) -> Table:
    rows = [
        [text_cell(e.model), text_cell(e.setting), text_cell(" & ".join(map(say, e.value))), number_cell(e.runs, 0),
         *(number_cell(100 * v, 1) for v in (e.estimate.value, e.estimate.low, e.estimate.high))]
        for e in effects
    ]  # fmt: skip
    columns = columns_of("model", "setting", "value", "#runs", "#effect", "#low", "#high")
    return Table("Main effects, points of WER", columns, rows)


def seeds_section(design: Design, pictures: Pictures) -> Section:
    """The spread over seeds, and the number of seeds that a difference takes."""
    section = Section("seeds", "Seeds", "Spread over seeds")
    figure = figures.seeds(design)
    section.pictures.append(
        pictures.add(
            "seeds", figure, "WER of each run by setting", "Each point is a run; the best settings are on top."
        )
    )
    noise = noises(design)
    spread, rows = [], []
    for model in design.models:
        level = design.of(model)["score"].min()
        n = noise[model]
        if n.df:
            values = (n.share, n.low, n.high, n.share * level)
            spread.append([text_cell(model), *(number_cell(100 * v, 1) for v in values), number_cell(n.df, 0)])
        for difference in DIFFERENCES:
            counts = [seeds_needed(s * level, difference) if n.df and s > 0 else None for s in (n.share, n.high)]
            cells = [needed_cell(count, n.df) for count in counts]
            rows.append([text_cell(model), number_cell(100 * difference, 1), *cells])
    if spread:
        columns = columns_of(
            "model", "#standard deviation, % of the WER", "#low", "#high", "#in points, at the best WER",
            "#degrees of freedom",
        )  # fmt: skip
        section.tables.append(Table("Differences between runs of one setting, with 95 % intervals", columns, spread))
    else:
        section.words.append("No setting has two runs that learned, so the noise between seeds is not known.")
    columns = columns_of(
        "model, at its best WER", "#difference, points", "#seeds per side", "#with the noise's upper end"
    )
    section.tables.append(
        Table("Seeds needed to detect a difference (two-sided t test at 5 %, power 80 %)", columns, rows)
    )
    return section


def instruments_section(design: Design, pictures: Pictures) -> Section:
    """The instruments of the best and the worst runs."""
    section = Section("instruments", "Instruments", "Instruments of the best and the worst runs")
    found = read_instruments(design)
    if not found:
        section.words.append("The runs logged no instruments.")
        return section
    section.words.append("The best and the worst quarter of each model's runs, by WER on val.")
    if telling(found, 1):
        caption = "Solid: best runs; dotted: worst."
        figure = figures.instruments(design, found)
        section.pictures.append(pictures.add("instruments", figure, "Instruments over the run", caption))
    groups = [(m, g) for m in design.models for g in ("best", "worst")]
    section.tables.append(_instrument_table(found, groups))
    return section


def _instrument_table(found: list[Instrument], groups: list[tuple[str, str]]) -> Table:
    rows = [
        [text_cell(i.name), *(digits_cell(of.get(g, math.nan)) for of in (i.median, i.last) for g in groups)]
        for i in found
    ]
    names = [f"#{m}, {g}: {what}" for what in ("median", "last") for m, g in groups]
    title = "Instruments: median over the run, and at its end (medians over runs)"
    return Table(title, columns_of("instrument", *names), rows)


def worst_section(design: Design, count: int, audio: bool) -> Section:
    """The worst utterances of one model's best run."""
    section = Section("errors", "Errors", "The worst utterances")
    found = worst_utterances(design, count, audio)
    if found is None:
        section.words.append(f"There are no hypotheses of a run. {HYPOTHESES_ARE_IN}")
        return section
    section.words.append(
        f"The utterances with the highest WER of the best run, {found.run}, out of {found.count:,} of {found.part}."
    )
    if found.why_no_audio:
        section.words.append(f"No audio: {found.why_no_audio}.")
    if found.shown:
        section.utterances = [("The worst", found.shown)]
    else:
        section.words.append("No utterance has an error.")
    return section


def runs_section(design: Design, table: pd.DataFrame) -> Section:
    """Every run of the table, those included that are in no comparison."""
    section = Section("runs", "Runs", "All runs")
    section.words.append(f"{count_statuses(table)}. The complete table is in runs.parquet and runs.csv.")
    if design.left_out:
        section.words.append(f"Left out of some or all comparisons: {'; '.join(design.left_out)}.")
    varied = [c for s in design.settings for c in s.columns]
    shown = [c for c in ("run", "status", "model", "seed", *varied) if c in table]
    section.tables.append(runs_table(table, shown))
    if len(table) > _MOST_ROWS:
        section.words.append(f"The table shows the first {_MOST_ROWS:,} of {len(table):,} runs.")
    return section


def runs_table(table: pd.DataFrame, shown: list[str]) -> Table:
    """Runs with those columns, their scores and their errors."""
    rows = []
    for row in table.head(_MOST_ROWS).to_dict("records"):
        status = str(row["status"])
        cells = [
            text_cell(row[c])
            if c != "status"
            else text_cell(status, "" if status in ("completed", "pruned") else "bad")
            for c in shown
        ]
        cells += [percent_cell(row[c]) for c in ("wer", "cer", "test_wer")]
        cells += [number_cell(row["steps"], 0), text_cell(row["error"] if isinstance(row["error"], str) else "")]
        rows.append(cells)
    names = [c if c in ("run", "status", "model") else f"#{c}" for c in shown]
    columns = columns_of(*names, "#val WER, %", "#val CER, %", "#test WER, %", "#steps", "error")
    return Table("Every run that was found", columns, rows)


def count_statuses(table: pd.DataFrame) -> str:
    """The number of runs by status."""
    by_status = table["status"].value_counts()
    return f"{counted(len(table), 'run')}: {', '.join(f'{count} {status}' for status, count in by_status.items())}"


def describe_reference(design: Design) -> str:
    """The reference settings, and where they are from."""
    values = ", ".join(f"{name} = {' & '.join(map(say, value))}" for name, value in design.reference.items())
    return f"{values} ({design.reference_from})" if values else "nothing varies"
