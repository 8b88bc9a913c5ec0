"""The report of an attribution: a self-contained HTML page, the waterfall as PNG, and the numbers as JSON."""

import base64
import dataclasses
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from khasr import __version__
from khasr.run.folder import write_whole
from khasr.study.elements import Column, Table, TableCell
from khasr.study.explain.analysis import Answer, Part
from khasr.study.explain.figures import waterfall
from khasr.study.explain.outcomes import Outcomes
from khasr.study.explain.plan import Plan
from khasr.study.explain.wording import dependences, points, sentence, span

_HERE = Path(__file__).parent
_STUDY = _HERE.parent


def write_report(plan: Plan, answer: Answer, outcomes: Outcomes, folder: Path) -> list[Path]:
    """Writes index.html, answer.json and, once the parts are known, waterfall.png; returns their paths."""
    picture, written = "", []
    if answer.parts:
        drawn = io.BytesIO()
        waterfall(answer).savefig(drawn, format="png")
        path = folder / "waterfall.png"
        path.write_bytes(drawn.getvalue())
        picture = f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
        written.append(path)
    write_whole(folder / "answer.json", json.dumps(_plain(plan, answer), ensure_ascii=False, indent=1) + "\n")
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=select_autoescape(default=True), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = (_STUDY / "page.css").read_text(encoding="utf-8")
    script = (_STUDY / "page.js").read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(
        title=_title(answer),
        about=_scope(plan, answer),
        words=[sentence(plan, answer), *dependences(answer)],
        picture=picture,
        sections=_sections(plan, answer, outcomes),
        notes=[*plan.notes, *answer.notes],
        version=__version__,
        # Ours, and nothing of the runs: only these two are not escaped, and only they may run (the page's policy).
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    write_whole(folder / "index.html", page)
    return [folder / "index.html", *written, folder / "answer.json"]


def _title(answer: Answer) -> str:
    if answer.gap.low > 0:
        return "Why is B worse than A?"
    return "Why is B better than A?" if answer.gap.high < 0 else "Is B worse than A?"


def _scope(plan: Plan, answer: Answer) -> str:
    speakers = f" by {answer.speakers} speakers" if answer.speakers else ""
    utterances = f"{answer.utterances} utterances of val{speakers}, " if answer.utterances else ""
    a, b = plan.a.split(), plan.b.split()
    common = [option for option in a if option in b]
    both = f" Both: {' '.join(common)}." if common else ""
    only = [" ".join(option for option in each if option not in common) for each in (a, b)]
    return f"{utterances}{len(answer.seeds)} seeds, {len(plan.factors)} factors.{both} A: {only[0]}. B: {only[1]}."


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _plain(plan: Plan, answer: Answer) -> dict[str, Any]:
    """The answer as JSON has it: nan is null."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [clean(each) for each in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    plain: dict[str, Any] = clean(dataclasses.asdict(answer))
    factors = [{"name": f.name, "a": f.a, "b": f.b} for f in plan.factors]
    return {"sentence": sentence(plan, answer), "a": plan.a, "b": plan.b, "factors": factors} | {"answer": plain}


# ---------------------------------------------------------------------------------------------------------- the tables


def _sections(plan: Plan, answer: Answer, outcomes: Outcomes) -> list[tuple[str, str, list[Table]]]:
    sections = [("What differs", "", [_factors(plan)])]
    if answer.parts:
        text = (
            "Changed first is the effect in A, changed last the effect into B; where they differ, the effect depends "
            "on the other factors. Detectable is the smallest effect that this design detects with a probability of "
            "80 %. p is corrected for the number of tests (Holm)."
        )
        sections.append(("Each factor's part", text, [_parts(answer)]))
    elif answer.first:
        sections.append(("Changed first and last", "", [_ends(answer)]))
    if answer.bounded:
        sections.append(("Bounds", "Cells that could not be run may have any WER.", [_bounds(plan, answer)]))
    if answer.interactions:
        text = (
            "The joint effect of two factors, changed in A, minus the sum of their single effects (Harsanyi "
            "dividend). p is corrected for interactions with size only."
        )
        sections.append(("Interactions", text, [_effects("Pairs", answer.interactions)]))
    sections.append(_failures(answer))
    sections.append(("Runs", "", [_runs(plan, outcomes)]))
    if answer.not_run:
        rows = [[_text(line)] for line in answer.not_run]
        sections.append(("Not run", "", [Table("Missing runs", _columns("cell, status and seeds"), rows)]))
    return sections


def _columns(*names: str) -> list[Column]:
    """Columns by name; numeric ones are marked with a leading #."""
    return [Column(name.removeprefix("#"), name.startswith("#")) for name in names]


def _text(text: str) -> TableCell:
    return TableCell(text, "")


def _number(value: float, text: str) -> TableCell:
    return TableCell("" if math.isnan(value) else text, "" if math.isnan(value) else repr(float(value)), "n")


def _points(value: float) -> TableCell:
    return _number(value, points(value))


def _p(value: float) -> TableCell:
    return _number(value, "< 0.001" if value < 0.001 else f"{value:.3f}")


def _percent(value: float) -> TableCell:
    return _number(value, f"{100 * value:.1f}")


def _factors(plan: Plan) -> Table:
    rows = []
    for factor in plan.factors:
        for key in factor.shown:
            shown = [
                "unset" if v is None else f"{v:g}" if isinstance(v, float) else str(v)
                for v in (factor.a.get(key), factor.b.get(key))
            ]
            rows.append([_text(factor.name), _text(key), *(_text(value) for value in shown)])
    return Table("Options by factor", _columns("factor", "option", "A", "B"), rows)


def _parts(answer: Answer) -> Table:
    columns = _columns(
        "factor", "#part, points", "interval", "share of the gap", "#p", "#first", "#last", "interval by seed",
        "#detectable",
    )  # fmt: skip
    rows = []
    for i, part in enumerate([answer.gap, *answer.parts]):
        share = "" if part.share is None else "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * s for s in part.share))
        of_factor = i > 0
        ends = [answer.first[i - 1].value, answer.last[i - 1].value] if of_factor and answer.first else [math.nan] * 2
        check = span(answer.by_seed[i - 1]) if of_factor and answer.by_seed else ""
        rows.append(
            [
                _text(part.name), _points(part.value), _text(span(part)), _text(share), _p(part.p_holm),
                *map(_points, ends), _text(check), _number(part.detectable, f"{100 * part.detectable:.1f}"),
            ]
        )  # fmt: skip
    return Table("Parts of the gap in WER", columns, rows)


def _ends(answer: Answer) -> Table:
    rows = [
        [_text(first.name), _points(first.value), _text(span(first)), _points(last.value), _text(span(last))]
        for first, last in zip(answer.first, answer.last, strict=True)
    ]
    return Table("Effects in points", _columns("factor", "#first", "interval", "#last", "interval"), rows)


def _bounds(plan: Plan, answer: Answer) -> Table:
    rows = [
        [_text(f.name), _points(low), _points(high)]
        for f, (low, high) in zip(plan.factors, answer.bounded, strict=True)
    ]
    return Table("Bounds of each part", _columns("factor", "#lowest", "#highest"), rows)


def _effects(title: str, parts: list[Part]) -> Table:
    rows = [[_text(p.name), _points(p.value), _text(span(p)), _p(p.p_holm)] for p in parts]
    return Table(title, _columns("effect of", "#points", "interval", "#p"), rows)


def _failures(answer: Answer) -> tuple[str, str, list[Table]]:
    found = answer.failures
    rows = [
        [_text(name), _number(runs, str(runs)), _number(learned, str(learned)), _percent(wer)]
        for name, runs, learned, wer in found.cells
    ]
    tables = [Table("By cell", _columns("cell", "#runs", "#learned", "#WER of those, %"), rows)]
    if not found.any:
        return "Failures", "Every run learned.", tables
    if found.share_learned:
        tables.append(_effects("Each factor's part of the difference in the share that learns", found.share_learned))
    if found.given_learned:
        rows = [[_text(p.name), _points(p.value)] for p in found.given_learned]
        tables.append(Table("Each factor's part among runs that learned", _columns("factor", "#points"), rows))
    return "Failures", "A run that did not learn has a WER of 100 % in the answer.", tables


def _runs(plan: Plan, outcomes: Outcomes) -> Table:
    rows = [
        [
            _text(plan.comparison.cell_name(cell)), _number(seed, str(seed)), _text(outcome.status),
            _percent(outcome.wer), _number(outcome.seconds, f"{outcome.seconds:.0f}"), _text(outcome.folder.name),
        ]
        for (cell, seed), outcome in sorted(outcomes.items())
    ]  # fmt: skip
    return Table("Every run", _columns("cell", "#seed", "status", "#WER, %", "#training, s", "folder"), rows)
