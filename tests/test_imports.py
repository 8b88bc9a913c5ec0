"""The import rule: each folder imports only from folders to its left."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "khasr"
FLOORS = [
    {"config"},
    {"run", "text", "optim"},
    {"data", "scoring", "cli"},
    {"model", "lm", "study"},
    {"decoding"},
    {"inference", "publish"},
    {"training"},
]
FLOOR = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}
COMMANDS = len(FLOORS)
FORBIDDEN = {
    "scoring": {"config", "run", "optim"},  # pure functions over text
    "model": {"optim", "scoring"},
}
FILES = sorted(ROOT.rglob("*.py"))


def folder(module: str) -> str:
    """The folder of a module under khasr; the module itself for a command."""
    return module.split(".")[0]


def imports(path: Path) -> list[str]:
    """The modules of khasr that a file imports, without the prefix."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "khasr":
            found += [f"khasr.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
    return [name.removeprefix("khasr.") for name in found if name.startswith("khasr.")]


def fault(importer: str, imported: str) -> bool:
    """Whether a module may not import the other one."""
    here, there = folder(importer), folder(imported)
    if here == there:
        return False
    return FLOOR.get(there, COMMANDS) >= FLOOR.get(here, COMMANDS + 1) or there in FORBIDDEN.get(here, ())


@pytest.mark.parametrize("path", FILES, ids=[str(f.relative_to(ROOT)) for f in FILES])
def test_one_way(path: Path) -> None:
    importer = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert folder(importer) in FLOOR or path.parent == ROOT, f"{folder(importer)} has no floor"
    wrong = [imported for imported in imports(path) if fault(importer, imported)]
    assert not wrong, f"{importer} imports {wrong}"


@pytest.mark.parametrize(
    ("importer", "imported", "wrong"),
    [
        ("data.parts", "text.segment", False),
        ("data.parts", "scoring.report", True),
        ("study.page", "training.fit", True),
        ("model.ctc", "scoring.error_rates", True),
        ("scoring.report", "run.folder", True),
        ("training.fit", "train", True),
        ("sweep", "train", False),
        ("run.folder", "utils.names", True),
    ],
)
def test_fault(importer: str, imported: str, wrong: bool) -> None:
    assert fault(importer, imported) == wrong


@pytest.mark.parametrize("path", FILES, ids=[str(f.relative_to(ROOT)) for f in FILES])
def test_no_private_names(path: Path) -> None:
    """No module imports a private name of a different module of khasr."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("khasr"):
            private = [a.name for a in node.names if a.name.startswith("_") and not a.name.startswith("__")]
            assert not private, f"{path} imports {private} of {node.module}"


def test_no_torch() -> None:
    """config, cli, and run except run/results.py import no torch; ray_launcher.py needs the extra `ray`."""
    modules = [
        ".".join(["khasr", *path.relative_to(ROOT).with_suffix("").parts])
        for path in FILES
        if folder(".".join(path.relative_to(ROOT).with_suffix("").parts)) in ("config", "cli", "run")
        and path.name not in ("__init__.py", "results.py", "ray_launcher.py")
    ]
    assert len(modules) > 15
    code = "import khasr, sys\nassert not {'torch', 'numpy', 'hydra'} & set(sys.modules), 'import khasr is light'\n"
    code += f"import importlib\nfor name in {modules}:\n    importlib.import_module(name)\n"
    code += "    assert 'torch' not in sys.modules, name\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
