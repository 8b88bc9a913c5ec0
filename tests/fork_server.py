"""A process with modules imported, each fork of which runs a command line as the interpreter would.

python tests/fork_server.py SOCKET PYTHON MODULE...     PYTHON stands for the interpreter in processes of commands

Prints a line when it accepts connections, and ends with its standard input. tests/fork_client.py is the other side.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any

# Numbers above those of the files that a command inherits.
_FREE = 500


def run_words(words: list[str]) -> None:
    """What `python WORDS` runs; options of the interpreter before -m, -c or the script are left out."""
    while words[0].startswith("-") and words[0] not in ("-m", "-c"):
        words = words[2 if words[0] in ("-W", "-X") else 1 :]
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


def run_command(request: dict[str, Any], files: list[int]) -> int:
    """Runs a command in this process, with its files, environment and folder; returns its exit code."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, *request["signals"]):
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else default)
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, _FREE) for file in files]
    os.closerange(0, _FREE)
    for file, number in zip(moved, request["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    sys.executable = request["python"] or sys.executable
    environment = request["environment"]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(request["cwd"])
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(":") if path]
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding)
    output, errors = (io.BufferedWriter(io.FileIO(number, "w", closefd=False)) for number in (1, 2))
    sys.stdout = io.TextIOWrapper(output, encoding, write_through="-u" in request["words"])
    sys.stderr = io.TextIOWrapper(errors, encoding, "backslashreplace", line_buffering=True)
    try:
        run_words(request["words"])
        code = 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        code = 1 if isinstance(stop.code, str) else stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    # As the interpreter does at its end. What it does then, freeing every module, takes long.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if request["report"] and "torch" not in sys.modules:
        print("NO TORCH")
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    return code


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request and the files that come with it."""
    size, files, _, _ = socket.recv_fds(connection, 8, 200)
    with connection.makefile("rb") as stream:
        return json.loads(stream.read(int.from_bytes(size, "big"))), list(files)


def answer(connection: socket.socket, number: int) -> None:
    """Sends a number to a client, which may have been killed."""
    with contextlib.suppress(OSError):
        connection.sendall(f"{number}\n".encode())


def serve(server: socket.socket) -> None:
    """Forks for each connection, and answers with the process id and, at its end, the exit code.

    A closed connection kills the command: the process that stands for it was killed.
    """
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    for source in (sys.stdin, server, woken):
        selector.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is server:
                connection, _ = server.accept()
                try:
                    request, files = receive(connection)
                except ValueError:  # the client was killed before it had sent all
                    connection.close()
                    continue
                child = os.fork()
                if child == 0:
                    os._exit(run_command(request, files))
                for file in files:
                    os.close(file)
                answer(connection, child)
                selector.register(connection, selectors.EVENT_READ, child)
                running[child] = connection
            elif key.fileobj is woken:
                woken.recv(4096)
                while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    connection = running.pop(ended[0])
                    if connection.fileno() >= 0:
                        selector.unregister(connection)
                        answer(connection, os.waitstatus_to_exitcode(ended[1]))
                        connection.close()
            elif key.data in running:
                os.kill(key.data, signal.SIGKILL)
                selector.unregister(key.fileobj)
                running[key.data].close()


def main() -> None:
    address, sys.executable, *modules = sys.argv[1:]
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    for name in modules:
        importlib.import_module(name)
    from khasr.config import compose_root

    compose_root("train", [])  # Hydra finds its plugins and builds its parser once
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(16)
        print("ready", flush=True)
        serve(server)


if __name__ == "__main__":
    main()
