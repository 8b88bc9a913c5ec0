"""Imports go one way: text < data, decoding, optim < model < scoring < training < study < the doors."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "khasr"
LEVEL = {
    "config": 0,
    "__init__": 0,
    "text": 1,
    "data": 2,
    "decoding": 2,
    "optim": 2,
    "model": 3,
    "scoring": 4,
    "training": 5,
    "study": 6,
}
# They know only text: a model counts its errors with them.
LEVEL_OF_FILE = {"scoring.error_rates": 1, "scoring.alignments": 1}
DOORS = {
    "ranges": 0,
    "launch": 6,
    "door": 7,
    "run_options": 7,
    "train": 8,
    "prepare": 8,
    "build_lm": 8,
    "tune": 8,
    "evaluate": 8,
    "transcribe": 8,
    "export": 8,
    "report": 8,
    "sweep": 9,
}


def level(module: str) -> int:
    parts = module.split(".")
    return LEVEL_OF_FILE.get(".".join(parts[:2])) or (LEVEL | DOORS)[parts[0]]


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(f.relative_to(ROOT)) for f in FILES])
def test_imports_go_one_way(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("khasr."):
            imported = node.module.removeprefix("khasr.")
            same_folder = imported.split(".")[0] == module.split(".")[0]
            assert same_folder or level(imported) <= level(module), f"{module} imports {imported}"


def test_each_kind_of_module_has_its_level() -> None:
    assert level("data.cache") < level("model.ctc") < level("scoring.evaluate") < level("training.fit")
    with pytest.raises(KeyError):
        level("utils")
