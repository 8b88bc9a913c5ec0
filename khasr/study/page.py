"""The page of a study: one self-contained HTML file, with its pictures also as PNG files."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from khasr import __version__
from khasr.run.folder import write_whole
from khasr.study.claims import RULES
from khasr.study.comparison import (
    claims_table,
    compared_seeds_section,
    compared_settings_section,
    compared_trials_section,
    errors_section,
    footings_section,
    footings_table,
)
from khasr.study.confounding import confounded_values
from khasr.study.design import Design, build_design
from khasr.study.elements import Pictures, Section, Table, TableCell, columns_of, number_cell, percent_cell, text_cell
from khasr.study.overview import Overview, best_sentence, edge_sentences
from khasr.study.runs import Runs
from khasr.study.sections import (
    count_statuses,
    curves_section,
    describe_reference,
    hours_sections,
    instruments_section,
    runs_section,
    runs_table,
    seeds_section,
    settings_section,
    trials_section,
    tried_section,
    worst_section,
)
from khasr.study.utterances import compare_errors
from khasr.study.verdict import Verdict
from khasr.text.counting import counted

_HERE = Path(__file__).parent


@dataclass
class Opening:
    """The first section of the page.

    Attributes:
        heading: also its name in the navigation.
        kind: class of the box: verdict or confounded.
        reference: the reference settings; empty if the page has none.
        rules: by which the verdict is made.
    """

    heading: str
    kind: str
    overview: Overview
    not_shown: list[str] = field(default_factory=list)
    reference: str = ""
    tables: list[Table] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


def write_page(
    design: Design,
    verdict: Verdict,
    overview: Overview,
    folder: Path,
    count: int = 10,
    audio: bool = True,
    more_hours: float | None = None,
) -> list[Path]:
    """Writes index.html and the PNG files; returns their paths.

    If the two models are confounded, the page describes each model's runs separately and compares nothing.

    Args:
        count: utterances in each list of errors.
        audio: embed their recordings in the page.
        more_hours: hours of training audio that the curve of WER against hours is extended by, as `hours_curves`.
    """
    about = count_statuses(design.runs.table)
    if design.confounded:
        opening = Opening("The models cannot be compared", "confounded", overview, verdict.not_shown)
        opening.tables.append(_confounding_table(design))
        sections, written = _each_model(design, folder, count, audio, more_hours)
        title = f"Runs of {design.small} and {design.large}"
    elif len(design.models) == 1:
        opening = Opening("The result", "verdict", overview, reference=describe_reference(design))
        pictures = Pictures(folder)
        sections, written = _one_model(design, pictures, count, audio, more_hours), pictures.written
        sections.append(runs_section(design, design.runs.table))
        title = f"Runs of {design.small}"
    else:
        opening = Opening(
            "The verdict", "verdict", overview, verdict.not_shown, describe_reference(design),
            [footings_table(design, verdict), claims_table(verdict)], RULES,
        )  # fmt: skip
        sections, written = _comparison(design, verdict, folder, count, audio, more_hours)
        title = f"{design.large} against {design.small}"
        about = f"{about}. Compared: {design.large} (the larger) minus {design.small}."
    if sections and design.runs.notes:
        sections[-1].words += [f"Not read: {note}" for note in design.runs.notes]
    path = folder / "index.html"
    write_whole(path, render_page(title, about, opening, sections))
    return [path, *written]


def write_index(pages: dict[str, Runs], folder: Path) -> Path:
    """Writes an index.html that links to the page of each group of runs, in the folder of its name."""
    rows = []
    for name, runs in pages.items():
        lowest = runs.table["wer"].min()
        models = ", ".join(sorted(runs.table["model"].unique()))
        link = TableCell(name, name, "", f"{name}/index.html")
        rows.append([link, number_cell(len(runs.table), 0), text_cell(models, "wide"), percent_cell(lowest)])
    columns = columns_of("runs scored on", "#runs", "models", "#lowest WER on val, %")
    overview = Overview(
        f"The runs were scored on {len(pages)} different sets of utterances or references, and a WER on one cannot be "
        "compared with a WER on the other, so each set has its own page."
    )
    opening = Opening("Pages", "verdict", overview, tables=[Table("One page per set", columns, rows)])
    total = sum(len(runs.table) for runs in pages.values())
    path = folder / "index.html"
    write_whole(path, render_page(f"{counted(total, 'run')} on {len(pages)} sets of utterances", "", opening, []))
    return path


def _confounding_table(design: Design) -> Table:
    values = [confounded_values(design, model) for model in design.models]
    rows = [[text_cell(option, "wide"), *(text_cell(" or ".join(of[option])) for of in values)] for option in values[0]]
    return Table("Options that differ between the models in every run", columns_of("option", *design.models), rows)


def _comparison(
    design: Design, verdict: Verdict, folder: Path, count: int, audio: bool, more_hours: float | None
) -> tuple[list[Section], list[Path]]:
    pictures = Pictures(folder)
    errors = compare_errors(design, count, audio)
    sections = [
        tried_section(design),
        curves_section(design, pictures),
        *hours_sections(design, pictures, more_hours),
        compared_trials_section(design, verdict, pictures),
        compared_settings_section(design, pictures),
        compared_seeds_section(design, errors, pictures),
        footings_section(design, pictures),
        instruments_section(design, pictures),
        errors_section(design, errors),
        runs_section(design, design.runs.table),
    ]
    return sections, pictures.written


def _one_model(design: Design, pictures: Pictures, count: int, audio: bool, more_hours: float | None) -> list[Section]:
    return [
        tried_section(design),
        curves_section(design, pictures),
        *hours_sections(design, pictures, more_hours),
        trials_section(design, pictures),
        settings_section(design, pictures),
        seeds_section(design, pictures),
        instruments_section(design, pictures),
        worst_section(design, count, audio),
    ]


def _each_model(
    design: Design, folder: Path, count: int, audio: bool, more_hours: float | None
) -> tuple[list[Section], list[Path]]:
    """The sections of each model's runs, one model after the other."""
    sections: list[Section] = []
    written: list[Path] = []
    for place, model in enumerate(design.models):
        name = re.sub(r"[^\w.-]+", "_", model)
        pictures = Pictures(folder, f"{name}_")
        alone = build_design(design.runs.where(design.runs.table["model"] == model))
        own = _one_model(alone, pictures, count, audio, more_hours)
        own[0].words[:0] = [best_sentence(alone), *edge_sentences(alone)]
        own.append(runs_section(alone, alone.runs.table))
        for section in own:
            section.id, section.short = f"{section.id}-{place + 1}", f"{model}: {section.short.lower()}"
            section.heading = f"{model}: {section.heading[0].lower()}{section.heading[1:]}"
        sections += own
        written += pictures.written
    rest = design.runs.table[~design.runs.table["model"].isin(design.models)]
    if len(rest):
        shown = ["run", "status", "model"]
        sections.append(Section("rest", "Other runs", "Other runs", tables=[runs_table(rest, shown)]))
    return sections, written


def render_page(title: str, about: str, opening: Opening, sections: list[Section]) -> str:
    """A page as HTML: its opening, then its sections."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=select_autoescape(default=True), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style, script = _style(), (_HERE / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        title=title,
        about=about,
        opening=opening,
        sections=sections,
        version=__version__,
        # Only these two are not escaped, contain nothing from the runs, and may run (the page's policy).
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _style() -> str:
    face = (
        "@font-face {{ font-family: 'Noto Sans Khmer khasr'; font-weight: {weight}; "
        "unicode-range: U+1780-17FF, U+19E0-19FF, U+200B-200D, U+25CC; "
        "src: url(data:font/woff2;base64,{font}) format('woff2'); }}"
    )
    faces = [
        face.format(weight=weight, font=_base64(_HERE / "fonts" / f"NotoSansKhmer-{name}.woff2"))
        for weight, name in ((400, "Regular"), (700, "Bold"))
    ]
    return "\n".join([*faces, (_HERE / "page.css").read_text(encoding="utf-8")])


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
