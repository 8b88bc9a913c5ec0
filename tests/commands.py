"""khasr's commands in forked processes: as `python -m`, without the seconds that every interpreter spends on imports."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fork_client import ask

_HERE = Path(__file__).resolve().parent

# submitit's controller is found by its process id, which differs from that of its fork.
_PYTHON = """#!/bin/sh
case "$*" in *submitit.local._local*) exec '{python}' "$@" ;; esac
exec '{python}' -IS '{client}' '{socket}' "$@"
"""


class Commands:
    """Runs commands in forks of one process in which some modules are imported.

    Attributes:
        python: the path of an executable that stands for the interpreter: `subprocess.Popen([python, ...])` and
            processes that commands start are such forks too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._address = str(folder / "socket")
        (folder / "bin").mkdir()
        for program in Path(sys.executable).parent.iterdir():
            (folder / "bin" / program.name).symlink_to(program)  # khasr looks for lmplz beside the interpreter
        path = folder / "bin" / "python"
        path.unlink(missing_ok=True)
        path.write_text(_PYTHON.format(python=sys.executable, client=_HERE / "fork_client.py", socket=self._address))
        path.chmod(0o755)
        self.python = str(path)

    @contextmanager
    def served(self, *modules: str) -> Iterator["Commands"]:
        """Runs the server, with these modules imported."""
        server = subprocess.Popen(
            [sys.executable, str(_HERE / "fork_server.py"), self._address, self.python, *modules],
            cwd=_HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield self
            assert server.stdin is not None
            server.stdin.close()

    def __call__(
        self, module: str, *words: str, cwd: Path, python: str | None = None, report: bool = False, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """`python -m module words`.

        Args:
            module: the module to run.
            words: its arguments.
            cwd: its folder.
            python: what starts the processes of the command, if not forks.
            report: print NO TORCH at the end if torch was not imported.
            environment: changes of the environment.
        """
        out, err = self._folder / "out", self._folder / "err"
        with Path(os.devnull).open() as nothing, out.open("w") as output, err.open("w") as errors:
            files = {i: file.fileno() for i, file in enumerate((nothing, output, errors))}
            code = ask(
                self._address, ["-m", module, *words], files, cwd=str(cwd), environment={**os.environ, **environment},
                python=python, report=report,
            )  # fmt: skip
        return subprocess.CompletedProcess(
            [module, *words], code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        )
