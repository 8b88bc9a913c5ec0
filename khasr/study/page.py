"""The study's page: one HTML file that holds all it needs, and the same pictures as PNGs."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from khasr import __version__
from khasr.study.claims import RULES
from khasr.study.design import Design
from khasr.study.elements import (
    Pictures,
    Section,
)
from khasr.study.sections import (
    best_section,
    claims_table,
    curves_section,
    describe_reference,
    describe_runs,
    errors_section,
    footings_section,
    instruments_section,
    runs_section,
    seeds_section,
    settings_section,
)
from khasr.study.utterances import compare_errors
from khasr.study.verdict import Verdict

_HERE = Path(__file__).parent


def write_page(design: Design, verdict: Verdict, folder: Path, count: int = 10, audio: bool = True) -> list[Path]:
    """Writes index.html and the PNGs; returns their paths.

    Args:
        count: utterances in each of the two lists of errors.
        audio: whether to put their recordings into the page.
    """
    pictures = Pictures(folder)
    sections = [
        Section("verdict", "Verdict", ""),
        curves_section(design, pictures),
        best_section(design, verdict, pictures),
        settings_section(design, pictures),
        seeds_section(design, pictures),
        footings_section(design, verdict, pictures),
        instruments_section(design, pictures),
    ]
    errors = compare_errors(design, count, audio)
    sections += [errors_section(design, errors), runs_section(design)]
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=select_autoescape(default=True), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style, script = _style(), (_HERE / "page.js").read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(
        title=f"{design.large} against {design.small}",
        about=describe_runs(design),
        sections=sections,
        words=verdict.words,
        not_shown=verdict.not_shown,
        reference=describe_reference(design),
        claims=claims_table(verdict),
        rules=RULES,
        version=__version__,
        # Ours, and nothing of the runs: only these two are not escaped, and only they may run (the page's policy).
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    path = folder / "index.html"
    partial = path.with_name(".index.html.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return [path, *pictures.written]


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
