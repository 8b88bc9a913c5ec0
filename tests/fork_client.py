"""Stands for the interpreter in tests: a fork of tests/fork_server.py runs the command line.

python tests/fork_client.py SOCKET WORD...     ends as `python WORD...` would, and passes signals on
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable

SIGNALS = [
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGURG,
]  # fmt: skip


def ask(
    address: str, words: list[str], files: dict[int, int], *, cwd: str, environment: dict[str, str],
    python: str | None = None, report: bool = False, begun: Callable[[int], object] = lambda _: None,
) -> int:  # fmt: skip
    """Runs `python WORDS` and returns its exit code, negative if a signal ended it.

    Args:
        address: the server's socket.
        words: the arguments of the interpreter.
        files: the open files of the command: its numbers, and what they are here.
        cwd: the folder of the command.
        environment: the environment of the command.
        python: what starts further processes, in place of the client.
        report: print NO TORCH at the end if torch was not imported.
        begun: called with the process id.
    """
    request = {
        "words": words, "files": list(files), "cwd": cwd, "environment": environment,
        "python": python, "report": report, "signals": SIGNALS, "ignored": [n for n in SIGNALS if signal.getsignal(n) == signal.SIG_IGN],
    }  # fmt: skip
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("r") as answers:
        connection.connect(address)
        socket.send_fds(connection, [len(content).to_bytes(8, "big")], list(files.values()))
        connection.sendall(content)
        begun(int(answers.readline()))
        return int(answers.readline())


def main() -> None:
    address, *words = sys.argv[1:]
    files = [int(name) for name in os.listdir("/proc/self/fd")]
    files = [number for number in files if os.path.exists(f"/proc/self/fd/{number}")]  # without that of the listing
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def begun(process: int) -> None:
        for number in files:
            if number > 2:
                os.close(number)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: os.kill(process, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    numbers = {number: number for number in files}
    code = ask(address, words, numbers, cwd=os.getcwd(), environment=dict(os.environ), begun=begun)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
