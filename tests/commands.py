"""khasr's commands in forked processes: as `python -m`, without the seconds that every interpreter spends on imports."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Reads a request per line and forks; the child runs the module as `python -m` would, and its exit code is the answer.
_SERVER = """
import gc, io, json, os, runpy, sys, traceback

def as_main(module, words, environment, cwd):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = open(os.devnull)
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), encoding=encoding)
    sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), encoding=encoding, errors="backslashreplace")
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0
    except BaseException:
        traceback.print_exc()
        return 1

for name in sys.argv[1].split(","):
    __import__(name)
gc.freeze()
answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code = as_main(request["module"], request["words"], request["environment"], request["cwd"])
        if request["report"] and "torch" not in sys.modules:
            print("NO TORCH")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
"""

_ROOT = Path(__file__).resolve().parents[1]


class Commands:
    """Runs commands, one at a time, in forks of one process in which some modules are imported."""

    def __init__(self, server: "subprocess.Popen[str]", folder: Path) -> None:
        self._server, self._folder = server, folder

    def __call__(
        self, module: str, *words: str, cwd: Path, report: bool = False, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """`python -m module words`; `report` prints NO TORCH at the end if torch was not imported."""
        request: dict[str, Any] = {
            "module": module, "words": words, "cwd": str(cwd), "environment": os.environ | environment,
            "report": report,
            "out": str(self._folder / "out"), "err": str(self._folder / "err"),
        }  # fmt: skip
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        answer = self._server.stdout.readline()
        assert answer, "the server has ended"
        out, err = ((self._folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess([module, *words], int(answer), out, err)


@contextmanager
def forked_commands(folder: Path, imported: str) -> Iterator[Commands]:
    """Commands whose processes have modules imported, named with commas between."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, imported], cwd=_ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        yield Commands(server, folder)
        assert server.stdin is not None
        server.stdin.close()
