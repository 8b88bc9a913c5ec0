"""A study at a glance: what was run, how runs ended, best values at an edge, what could be detected, and the scope."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from khasr.study.claims import split_learned
from khasr.study.design import LEARNED_BELOW, Design, Setting
from khasr.study.equal_footing import best_cells, cell_scores, noises
from khasr.study.hours import hours_curves, hours_sentences
from khasr.study.statistics import LEVEL, Array
from khasr.study.verdict import Verdict
from khasr.study.wording import joined, points, say, value_text
from khasr.text.counting import counted

POWER = 0.8


_MOST_VALUES = 8
"""A setting with more values (a search over a range) is shown as ranges of values."""


@dataclass
class Overview:
    """The opening of the page and of the terminal.

    Attributes:
        headline: the result in one sentence.
        sentences: the verdict in detail; empty for one model.
        notes: what could be detected, best values at an edge, failures, the scope.
    """

    headline: str
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Edge:
    """Where the best value of an option is within the values tried by a model.

    Attributes:
        end: lowest, highest or empty. Zero is the natural end of every option, so never counts as an edge.
    """

    model: str
    option: str
    best: float
    low: float
    high: float
    count: int
    end: str


@dataclass(frozen=True)
class Outcomes:
    """How the runs of a model ended."""

    model: str
    runs: int
    learned: int
    not_learned: int
    diverged: int
    diverged_late: int
    failed: int
    interrupted: int
    pruned: int


@dataclass(frozen=True)
class Tried:
    """A value of a setting (or a range of values), and the scores of each model's runs there."""

    setting: str
    value: str
    scores: tuple[Array, ...]
    runs: tuple[int, ...]


def summarise(
    design: Design, verdict: Verdict, utterance_error: float = 0.0, more_hours: float | None = None
) -> Overview:
    """The opening: a sentence first, then the verdict, then what is needed to judge it."""
    scope = scope_sentence(design)
    if design.confounded:
        return Overview(verdict.words[0], verdict.words[1:], [scope])
    hours = [sentence for curve in hours_curves(design, more_hours) for sentence in hours_sentences(curve)]
    notes = [*hours, detectable_sentence(design, utterance_error), *edge_sentences(design), *failure_sentences(design)]
    notes.append(scope)
    if len(design.models) == 1:
        return Overview(best_sentence(design), [], notes)
    return Overview(_comparison_sentence(design, verdict), verdict.words, notes)


# ------------------------------------------------------------------------------------------------------- the sentences


def best_sentence(design: Design) -> str:
    """The best setting of the only model."""
    (model,), (found,) = design.models, best_cells(design)
    if found is None:
        return f"No run of {model} has a WER on val."
    cell, scores = found
    mean = float(scores.mean())
    if mean >= LEARNED_BELOW:
        return f"No setting of {model} learned: the lowest mean WER on val is {points(mean)} %."
    row = design.table[design.table["cell"] == cell].iloc[[0]]
    values = [f"{c} = {say(v)}" for s in design.settings for c, v in zip(s.columns, s.of(row)[0], strict=True)]
    where = f" with {joined(values)}" if 0 < len(values) <= 4 else f" with {cell}" if values else ""
    what = "mean WER" if len(scores) > 1 else "WER"
    return f"The lowest {what} of {model} on val is {points(mean)} %{where} ({counted(len(scores), 'run')})."


def _comparison_sentence(design: Design, verdict: Verdict) -> str:
    unlearned = [m for m in design.models if not design.of(m)["learned"].any()]
    if unlearned:
        return f"No run of {joined(unlearned)} learned, so {design.large} and {design.small} cannot be compared."
    small, large = design.models
    claims = {claim.key: claim for claim in verdict.claims}
    text = f"No difference in WER between {large} and {small} was shown"
    for key, where in (("reference", "at the reference settings"), ("best_of_n", "at the best of equally many trials")):
        if claims[key].shown:
            value = claims[key].estimate.value
            text = (
                f"{large} is {'worse' if value > 0 else 'better'} than {small} by {points(abs(value))} points {where}"
            )
            break
    causes = verdict.causes
    if not causes:
        return f"{text}, and no setting was shown to affect the two differently."
    return f"{text}; {joined(causes)} {'affects' if len(causes) == 1 else 'affect'} the two differently."


def detectable_sentence(design: Design, utterance_error: float = 0.0) -> str:
    """The smallest true difference that the runs would have shown in 80 % of such studies."""
    noise = noises(design)
    lacking = [m for m in design.models if not noise[m].df]
    if lacking:
        return (
            f"What could be detected: unknown, because no setting of {joined(lacking)} has two runs that learned and "
            "the noise between seeds is not known. Repeat the settings that matter (-m seed=1,2,3)."
        )
    chance = f"would be detected in {POWER:.0%} of such studies (two-sided 5 % test".replace("%", " %", 1)
    if len(design.models) == 1:
        (model,), (found,) = design.models, best_cells(design)
        runs = int(design.table[design.table["learned"]].groupby("cell").size().median())
        assert found is not None  # a model with noise has runs that learned
        error = (noise[model].share * float(found[1].mean())) ** 2
        least = _detectable([error / runs] * 2, [noise[model].df / 2] * 2)
        return (
            f"What could be detected: a difference of {points(least)} points between two settings, with "
            f"{counted(runs, 'run')} each, {chance}, one pair)."
        )
    sides, _ = split_learned([cell_scores(design, m, design.reference_cell) for m in design.models])
    if min(map(len, sides)) == 0:
        return (
            "What could be detected: nothing at the reference settings, because a model has no run there that learned."
        )
    errors = [noise[m].squared_error(scores) for m, scores in zip(design.models, sides, strict=True)]
    dfs = [float(noise[m].df) for m in design.models]
    least = _detectable([*errors, utterance_error], [*dfs, 1e6])
    return (
        f"What could be detected: a gap of {points(least)} points at the reference settings ({len(sides[0])} runs of "
        f"{design.small}, {len(sides[1])} of {design.large}) {chance}, before correction for the number of claims)."
    )


def _detectable(squared_errors: Sequence[float], dfs: Sequence[float]) -> float:
    """The smallest difference that a t test detects with probability POWER, from the parts of its variance."""
    variance = sum(squared_errors)
    if not variance > 0:
        return 0.0
    df = variance**2 / sum(v**2 / df for v, df in zip(squared_errors, dfs, strict=True) if v > 0)
    return float(stats.t.ppf((1 + LEVEL) / 2, df) + stats.t.ppf(POWER, df)) * math.sqrt(variance)


def edge_sentences(design: Design) -> list[str]:
    """Best values at an end of the range that was tried, where a better value may lie beyond."""
    found = [edge for edge in edges(design) if edge.end]
    if not found:
        return []
    listed = [f"{edge.option} = {say(edge.best)} ({edge.end} of {edge.count}, {edge.model})" for edge in found]
    return [f"Best values at the edge of the range tried: {'; '.join(listed)}. Better values may lie beyond."]


def failure_sentences(design: Design) -> list[str]:
    """Runs that did not learn or did not end, for each model that has some."""
    sentences = []
    for outcome in outcomes(design):
        parts = {
            "diverged before learning": outcome.diverged, "diverged after learning": outcome.diverged_late,
            f"ended with a WER of {100 * LEARNED_BELOW:.0f} % or more": outcome.not_learned,
            "failed (an error or a lost machine)": outcome.failed, "interrupted": outcome.interrupted,
            "stopped early by the pruner of their search": outcome.pruned,
        }  # fmt: skip
        some = [f"{count} {what}" for what, count in parts.items() if count]
        if some:
            sentences.append(f"{outcome.model}: of {counted(outcome.runs, 'run')}, {joined(some)}.")
    return sentences


def scope_sentence(design: Design) -> str:
    """The utterances, speakers, checkpoints and seeds that the results are of."""
    lines = design.runs.hypotheses
    lines = lines[(lines["part"] == "val") & lines["run"].isin(set(design.table["run"]))]
    utterances = float(lines["id"].nunique()) or float(design.table["val_utterances"].max())
    speakers = len(set(lines["speaker"]) - {""}) if "speaker" in lines else 0
    parts = [
        f"{utterances:,.0f} val utterances" if utterances > 0 else "an unknown number of val utterances",
        f"{counted(speakers, 'speaker')}" if speakers else "unknown speakers",
        *_checkpoints(design),
    ]
    if "seed" in design.table:
        parts.append(counted(design.table["seed"].nunique(), "seed"))
    return f"Scope: {', '.join(parts)}. Other utterances, speakers or checkpoints may give other results."


def _checkpoints(design: Design) -> list[str]:
    if "model.checkpoint" not in design.table or design.runs.by == "model.checkpoint":
        return []
    counts = [max(1, design.of(m)["model.checkpoint"].nunique(dropna=False)) for m in design.models]
    if set(counts) == {1}:
        return ["one starting checkpoint" + (" per model" if len(counts) > 1 else "")]
    listed = zip(design.models, counts, strict=True)
    return [f"{counted(n, 'starting checkpoint')} of {m}" for m, n in listed]


# -------------------------------------------------------------------------------------------------- what the tables say


def outcomes(design: Design) -> list[Outcomes]:
    """How each model's runs ended; the counts add up to the number of runs."""
    found = []
    for model in design.models:
        rows = design.of(model)
        learned, status = rows["learned"], rows["status"]
        found.append(
            Outcomes(
                model,
                len(rows),
                learned=int((learned & (status == "completed")).sum()),
                not_learned=int((~learned & (status == "completed")).sum()),
                diverged=int((~learned & (status == "diverged")).sum()),
                diverged_late=int((learned & (status == "diverged")).sum()),
                failed=int((status == "failed").sum()),
                interrupted=int((status == "interrupted").sum()),
                pruned=int((status == "pruned").sum()),
            )
        )
    return found


def edges(design: Design) -> list[Edge]:
    """For each model and numeric option, where the value of its best setting is within the values it tried."""
    found = []
    for model, best in zip(design.models, best_cells(design), strict=True):
        if best is None:
            continue
        rows = design.of(model)
        rows = rows[rows["score"].notna()]
        for option in (column for setting in design.settings for column in setting.columns):
            values = sorted({v for v in rows[option] if v is not None and v == v}, key=str)
            if len(values) < 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
                continue
            numbers = sorted(map(float, values))
            chosen = rows[rows["cell"] == best[0]][option].iloc[0]
            if chosen is None or chosen != chosen:
                continue
            value = float(chosen)
            end = "highest" if value == numbers[-1] else "lowest" if value == numbers[0] and value != 0 else ""
            found.append(Edge(model, option, value, numbers[0], numbers[-1], len(numbers), end))
    return found


def tried_values(design: Design) -> list[Tried]:
    """Each value of each setting with each model's runs there; a value that a model did not try has none."""
    found = []
    for setting in design.settings:
        columns = [(rows, setting.of(rows)) for rows in map(design.of, design.models)]
        for text, members in _ranges(setting):
            at = [rows[[v in members for v in values]] for rows, values in columns]
            scores = tuple(rows["score"].dropna().to_numpy(float) for rows in at)
            found.append(Tried(setting.name, text, scores, tuple(map(len, at))))
    return found


def _ranges(setting: Setting) -> list[tuple[str, set[tuple[object, ...]]]]:
    if len(setting.values) <= _MOST_VALUES:
        return [(value_text(v), {v}) for v in setting.values]
    groups = [setting.values[places[0] : places[-1] + 1] for places in _parts(len(setting.values))]
    return [(f"{value_text(g[0])} to {value_text(g[-1])} ({len(g)} values)", set(g)) for g in groups]


def _parts(count: int) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return [part for part in np.array_split(np.arange(count), 6) if len(part)]


def by_cell(design: Design) -> list[tuple[str, list[pd.DataFrame]]]:
    """Each combination of settings that was run, with each model's runs of it."""
    cells = dict.fromkeys([design.reference_cell, *sorted(design.table["cell"].unique())])
    rows = [design.of(m) for m in design.models]
    found = [(cell, [r[r["cell"] == cell] for r in rows]) for cell in cells]
    return [(cell, at) for cell, at in found if any(map(len, at))]
