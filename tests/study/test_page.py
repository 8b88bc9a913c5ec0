"""The page of a confounded pair of models, of one model, and of several corpora; test_report looks at a comparison."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from khasr.study.design import Design, build_design
from khasr.study.elements import Picture, Pictures
from khasr.study.groups import split_by_utterances
from khasr.study.overview import summarise
from khasr.study.page import write_index, write_page
from khasr.study.runs import Runs
from khasr.study.verdict import judge
from tests.simulated_study import Plan, simulate


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are composed and not drawn, and no forests are fitted: these take most of a page's time."""

    def add(self: Pictures, name: str, figure: Figure, alt: str, caption: str) -> Picture:
        legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        return Picture("data:,", alt, f"{caption} Legend: {', '.join(legends)}")

    monkeypatch.setattr(Pictures, "add", add)
    monkeypatch.setattr("khasr.study.sections.importances", lambda design, model: [])


def sections(design: Design, folder: Path) -> dict[str, str]:
    """The text of each section of the page by its id."""
    verdict = judge(design)
    write_page(design, verdict, summarise(design, verdict), folder)
    page = (folder / "index.html").read_text(encoding="utf-8")
    found = re.findall(r'<section id="([^"]+)">(.*?)</section>', page, re.DOTALL)
    return {name: html.unescape(re.sub(r"<[^>]+>", " ", text)) for name, text in found}


def confounded() -> Runs:
    runs, _ = simulate(Plan(seeds=3, settings=2, failures=0), "size", 0)
    lr, large = runs.table["optimizer.lr"], runs.table["model"] == "large"
    return runs.where(np.where(large, lr == 1e-2, lr != 1e-2))


def test_confounded_page(tmp_path: Path) -> None:
    """The box with the command comes first, and no section below it is about both models."""
    found = sections(build_design(confounded()), tmp_path)
    opening = found.pop("verdict")
    assert "These runs cannot show whether large is worse than small: optimizer.lr differs" in opening
    assert re.search(r"python -m khasr\.explain small_\d+ large_\d+ --plan", opening)
    assert re.search(r"optimizer\.lr\s+0\.001 or 0\.003\s+0\.01", opening)
    assert [name.split("-")[0] for name in found] == [
        "tried", "curves", "trials", "settings", "seeds", "instruments", "errors", "runs"
    ] * 2  # fmt: skip
    for name, text in found.items():
        own, other = ("small", "large") if name.endswith("-1") else ("large", "small")
        assert text.strip().startswith(f"{own}:")
        assert not re.search(rf"\b{other}", text), (name, text)


def test_one_model_page(tmp_path: Path) -> None:
    runs = confounded()
    found = sections(build_design(runs.where(runs.table["model"] == "small")), tmp_path)
    assert "The lowest mean WER of small on val is" in found["verdict"]
    assert "Best values at the edge of the range tried" in found["verdict"]
    assert "Scope:" in found["verdict"]
    assert list(found) == [
        "verdict", "tried", "curves", "trials", "settings", "seeds", "instruments", "errors", "runs"
    ]  # fmt: skip
    assert "reference (3 runs)" in found["curves"]


def test_model_card_curve(tmp_path: Path) -> None:
    """The curve of the model card is drawn for its corpus only."""
    runs = confounded()
    runs = runs.where(runs.table["model"] == "small")
    for name, drawn in (("openslr_km", True), ("fleurs_km", False)):
        runs.table["data.name"] = name
        assert ("model card" in sections(build_design(runs), tmp_path)["curves"]) is drawn


def test_single_validations(tmp_path: Path) -> None:
    """Runs with one validation are points that the legend counts."""
    runs = confounded()
    runs.curves = runs.curves[(runs.curves["run"] != "small_001") | (runs.curves["step"] == 1000)]
    design = build_design(runs.where(runs.table["model"] == "small"))
    assert "1 run with one validation" in sections(design, tmp_path)["curves"]


def test_index(tmp_path: Path) -> None:
    """Runs on two corpora have a page each, linked from an index that compares nothing."""
    runs, _ = simulate(Plan(seeds=2, settings=1, failures=0), "null", 0)
    runs.table["data.name"] = ["fleurs_km"] * 3 + ["openslr_km"] * (len(runs.table) - 3)
    text = write_index(split_by_utterances(runs), tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<a href="([^#"]+)">', text) == ["openslr_km/index.html", "fleurs_km/index.html"]
    assert "The runs were scored on 2 different sets of utterances or references" in text
