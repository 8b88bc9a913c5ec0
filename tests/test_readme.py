"""README.md, docs/ and the docstrings of the commands: their commands are accepted, their links lead somewhere."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest
from hydra.errors import HydraException

from khasr.cli.multirun.wandb_file import read_sweep
from khasr.config import CONF_DIR, compose_root, roots
from tests.composed import composed

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*/*.md"))
SOURCES = [*PAGES, *EXPERIMENTS, *sorted((ROOT / "khasr").glob("*.py"))]


def read(path: Path) -> str:
    """A file's text with continued lines joined."""
    return re.sub(r" *\\\n\s*", " ", path.read_text(encoding="utf-8"))


# A command is a line, up to a comment or a wide gap, or a stretch between backticks.
_LINE = re.compile(
    r"^\s*(?:srun )?(?:\.venv/bin/)?python -m khasr\.(\w+)(?: +(.*?))?(?:\s{2,}#.*|\s{3,}.*| <.*| [`|].*)?$",
    re.MULTILINE,
)
_INLINE = re.compile(r"`python -m khasr\.(\w+)((?: [^`]*)?)`")
COMMANDS = sorted(
    {
        (command, " ".join(words.split()))
        for path in SOURCES
        for pattern in (_LINE, _INLINE)
        for command, words in pattern.findall(read(path))
        if "..." not in words and (words or command in roots())  # else a mention of its name
    }
)
HYDRA_WORDS = sorted({word for path in PAGES for word in re.findall(r"(?<![\w.])hydra[/.][\w./]+=[\w./]+", read(path))})


def test_found() -> None:
    """The patterns find the commands."""
    assert len(COMMANDS) >= 60
    assert len(HYDRA_WORDS) >= 12
    assert {command for command, _ in COMMANDS} >= {p.stem for p in (ROOT / "khasr").glob("*.py") if p.stem[0] != "_"}


class Parsed(BaseException):
    """Raised in place of the rest of a command."""


@pytest.mark.parametrize(("command", "line"), COMMANDS)
def test_command(command: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra composes the options; argparse accepts the arguments."""
    words = shlex.split(
        re.sub(r"\$\(.*?\)", "", line), comments=True
    )  # without the words that a shell reads from a file
    if command in roots():
        overrides = [word for word in words if not word.startswith(("-", "hydra.", "hydra/"))]
        assert all("=" in word for word in overrides), overrides
        if "-m" in words:
            overrides = [first_value(word) for word in overrides]
        needed = {"evaluate": ["run=x"], "tune": ["run=x", "lm=x"]}.get(command, [])
        if command == "train":
            composed(*overrides)
        else:
            compose_root(command, [*needed, *overrides] if not any("run=" in word for word in overrides) else overrides)
    elif command == "sweep":
        assert read_sweep(ROOT / words[0], [word for word in words[1:] if "=" in word])[0] == "-m"
    else:
        parse_args = argparse.ArgumentParser.parse_args

        def only_parse(self: argparse.ArgumentParser, args: list[str] | None = None) -> None:
            parse_args(self, args)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
        monkeypatch.setattr("sys.argv", [command, *words])
        with pytest.raises((Parsed, SystemExit)) as stopped:
            importlib.import_module(f"khasr.{command}").main()
        assert stopped.type is Parsed or "--help" in words, line


def first_value(override: str) -> str:
    """An override of a sweep with the first of its values."""
    if interval := re.search(r"=.*interval\(([^,]+),", override):
        return f"{override.split('=')[0]}={interval[1]}"
    return override if "[" in override else override.split(",")[0]


@pytest.mark.parametrize("word", HYDRA_WORDS)
def test_hydra_option(word: str) -> None:
    """A launcher or a sweeper has the option."""
    if "launcher.ray" in word or "launcher=ray" in word:
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    if word.startswith("hydra/"):
        sampler = ["hydra/sweeper=optuna"] if word.startswith("hydra/sweeper/") else []
        compose_root("train", [*sampler, word], with_hydra=True)
        return
    launchers = [f"launcher={name}" for name in ("joblib", "submitit_local", "submitit_slurm", "ray")]
    choices = ["sweeper=optuna"] if word.startswith("hydra.sweeper.") else launchers
    errors = []
    for choice in choices:
        try:
            compose_root("train", [f"hydra/{choice}", word], with_hydra=True)
        except HydraException as error:
            errors.append(str(error))
    assert len(errors) < len(choices), errors


@pytest.mark.parametrize("page", [*PAGES, *EXPERIMENTS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Relative links lead to files and headings that exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles], target


def test_group_table() -> None:
    """The table of the README lists every choice of every group."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .*\|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = {group: set(re.findall(r"`(\w+)`", choices)) for group, choices in rows}
    groups = {
        folder.name: {file.stem for file in folder.glob("*.yaml")} for folder in CONF_DIR.iterdir() if folder.is_dir()
    }
    assert listed.pop("experiment") <= groups.pop("experiment")
    assert listed == groups
