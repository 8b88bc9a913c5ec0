"""python -m khasr.report: its page of a comparison, in a browser if there is one."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from khasr.cli.run import guarded
from khasr.report import main
from tests.conftest import RATE
from tests.simulated_study import Plan, simulate, write_folders

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

HOSTILE = [
    "<script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "</script></style><svg onload=window.hacked=1>",
    "{{ 7 * 7 }} ${window.hacked=1} javascript:window.hacked=1",
    "<iframe src=http://example.org/></iframe>",
    "ខ្ញុំ ចង់ ទៅ សាលារៀន",
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of a simulated study with a corpus, and hostile text wherever a run can contain text."""
    root = tmp_path_factory.mktemp("study")
    runs, _ = simulate(Plan(seeds=2), "cause", 0)
    write_folders(runs, root / "runs", hypotheses=8)
    corpus = root / "corpus"
    (corpus / "audio").mkdir(parents=True)
    lines = ["audio\ttext\tspeaker"]
    for i in range(8):
        soundfile.write(corpus / "audio" / f"u{i:03d}.wav", np.sin(np.arange(RATE) / 9).astype(np.float32) * 0.3, RATE)
        lines.append(f"audio/u{i:03d}.wav\tក\ts{i % 2}")
    (corpus / "utterances.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for folder in (root / "runs").iterdir():
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        config["data"] = {"name": "folder", "root": str(corpus)}
        config["trainer"]["note"] = HOSTILE[int(folder.name[-1]) % 2]
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        if (folder / "hypotheses.tsv").is_file():
            own = (folder / "hypotheses.tsv").read_text(encoding="utf-8")
            with (folder / "hypotheses.tsv").open("w", encoding="utf-8") as file:
                file.write(re.sub(r"^(u\d+)", r"audio/\1", own, flags=re.MULTILINE))
                for i, text in enumerate(HOSTILE):
                    file.write(f"hostile {i} {text}\t{text} ក\t{text[::-1]} ខ {folder.name}\t9\t1.0\tval\n")
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        if results["status"] != "completed":
            (folder / "results.json").write_text(json.dumps(results | {"error": HOSTILE[1]}), encoding="utf-8")
    (root / "runs" / "large_000").rename(root / "runs" / "<img src=x onerror=window.hacked=1>")
    broken = root / "runs" / "broken"
    broken.mkdir()
    (broken / "results.json").write_text("<script>window.hacked=1</script>", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def report(study: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    out = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KHASR_CACHE", str(cache))
        assert main([str(study / "runs"), "--out", str(out), "--utterances", "8"]) == 0
    return out


def test_self_contained(report: Path) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    for picture in ("learning_curves", "best_of_n", "importance", "main_effects", "seeds", "equal_lr", "equal_audio"):
        assert (report / f"{picture}.png").read_bytes()[:4] == b"\x89PNG"
    assert page.count("<h2>") == 10
    addresses = re.findall(r"""<[^>]*?\b(?:src|href)="([^"]{1,20})""", page)
    assert len(addresses) > 20
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert set(re.findall(r"url\((.{1,10})", page)) == {"data:font/"}
    assert "script-src 'sha256-" in page


def test_hostile_text(report: Path) -> None:
    """Text of the runs is escaped: one script and one style, both ours, and no tag of a run."""
    page = (report / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<script\b", page)) == len(re.findall(r"<style\b", page)) == 1
    for tag in ("<img src=x", "<svg", "<iframe"):
        assert tag not in page
    assert "&lt;script&gt;window.hacked=1&lt;/script&gt;" in page
    assert "49 ${" not in page


def test_every_run_is_listed(report: Path, study: Path) -> None:
    with (report / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list((study / "runs").iterdir()))
    assert {row["status"] for row in rows} >= {"completed", "unreadable"}
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "unreadable" in page
    assert "results.json" in page or "Expecting value" in page


def test_mistakes(tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: main([str(tmp_path), "--out", str(tmp_path / "out")])) == 2
    assert "No run in" in capsys.readouterr().err
    assert guarded(lambda: main([str(study / "runs"), "--out", str(tmp_path / "out"), "--large", "huge"])) == 2
    assert "No run of a model named 'huge'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        main([str(study), "--reference", "lr"])
    assert exit_.value.code == 2


def test_help_without_torch() -> None:
    code = "import sys; import khasr.report as r\nfrom khasr.cli.run import guarded\n"
    code += "for words in (['--help'], ['nowhere']):\n"
    code += "    try: assert guarded(lambda: r.main(words)) == 2\n    except SystemExit: pass\n"
    code += "assert not {'torch', 'pandas', 'sklearn'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "nowhere does not exist. Expected the folder of a run, a folder of runs, or a CSV" in done.stderr
    assert "--reference" in done.stdout
    assert "--by OPTION" in done.stdout


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # The sandbox does not work for root in a container.
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The page, opened, with the messages of its console and the requests that it made."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.messages, opened.requests = [], []
    opened.on("console", lambda message: opened.messages.append(message.text))
    opened.on("pageerror", lambda error: opened.messages.append(str(error)))
    opened.on("dialog", lambda dialog: (opened.messages.append("dialog"), dialog.dismiss()))
    opened.on("request", lambda request: opened.requests.append(request.url))
    opened.goto((report / "index.html").as_uri())
    yield opened
    opened.close()


@needs_browser
def test_console_and_requests(page: Any) -> None:
    page.wait_for_timeout(300)
    assert page.messages == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


@needs_browser
def test_content_security_policy(page: Any) -> None:
    """A handler that were injected past the escaping would not run."""
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked=1\">')")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None


@needs_browser
def test_khmer_font(page: Any) -> None:
    page.evaluate("document.fonts.ready.then(() => 0)")
    loaded = page.evaluate("[...document.fonts].filter(f => f.status === 'loaded').map(f => f.family)")
    assert any("Noto Sans Khmer khasr" in family for family in loaded)
    # A syllable with a coeng is narrower than its letters one after the other: it is shaped.
    width = """text => { const s = document.createElement('span'); s.className = 'km'; s.textContent = text;
        document.body.append(s); const w = s.getBoundingClientRect().width; s.remove(); return w; }"""
    assert page.evaluate(width, "ខ្ញុំ") < 0.8 * sum(page.evaluate(width, c) for c in "ខញ")


@needs_browser
def test_sorting(page: Any) -> None:
    table = page.locator("#runs table")
    heading = table.locator("th", has_text="val WER")
    column = heading.evaluate("th => th.cellIndex")

    def shown() -> list[str]:
        return list(table.locator(f"tbody td:nth-child({column + 1})").all_inner_texts())

    heading.locator("button").click()
    values = shown()
    numbers = [float(v) for v in values if v]
    assert len(numbers) > 10
    assert numbers == sorted(numbers)
    assert values[len(numbers) :] == [""] * (len(values) - len(numbers))  # missing values are last
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert [float(v) for v in shown() if v] == sorted(numbers, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    table.locator("th", has_text="status").locator("button").press("Space")
    statuses = table.locator("tbody td:nth-child(2)").all_inner_texts()
    assert statuses == sorted(statuses)


@needs_browser
def test_players(page: Any) -> None:
    players = page.locator("audio")
    assert players.count() >= 2
    for i in range(2):
        players.nth(i).evaluate("player => player.play()")
        page.wait_for_function("i => document.querySelectorAll('audio')[i].currentTime > 0.05", arg=i, timeout=10_000)
    assert players.nth(0).evaluate("player => player.paused")
    assert players.nth(1).evaluate("player => player.duration") == pytest.approx(1.0, abs=0.15)
    assert page.messages == []


@needs_browser
def test_keyboard_and_phone(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the result"
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0 && e.ariaLabel)")
    assert page.evaluate("[...document.images].every(image => image.alt)")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
