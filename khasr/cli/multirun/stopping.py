"""Stops a sweep whose runs are in several processes: the first SIGINT or SIGTERM has every run saved."""

import dataclasses
import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from khasr.run.interrupts import PASSED_ON, Interrupted
from khasr.run.outcome import Outcome

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_SECOND = "A second signal ends them immediately, unsaved."

_received: list[int] = []
"""Signals that asked this process, one of joblib's, to stop."""


class StopRequest:
    """While entered, the first SIGINT or SIGTERM calls `pass_on`, and a second one raises KeyboardInterrupt.

    Attributes:
        signum: the signal that was received, or None.
    """

    def __init__(self, pass_on: Callable[[], None]) -> None:
        self.signum: int | None = None
        self._pass_on = pass_on
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._before = {signum: signal.signal(signum, self._handle) for signum in _STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def mark(self, outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes, of which those that this stopped have the exit code of its signal."""
        if self.signum is None:
            return outcomes
        code = 128 + self.signum
        stopped = ("interrupted", "not begun")
        return [dataclasses.replace(o, code=code) if o.status in stopped else o for o in outcomes]

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt
        self.signum = signum
        name = signal.Signals(signum).name
        print(f"\n{name} received: the runs are saved and the sweep stops. {_SECOND}", file=sys.stderr, flush=True)
        self._pass_on()


def stop_children() -> None:
    """Asks the processes of joblib to stop."""
    for process in multiprocessing.active_children():
        if process.pid is not None:
            os.kill(process.pid, PASSED_ON)


def stoppable(run: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """`run_of_sweep` for the processes of joblib, which are used for many runs.

    Outside training a signal ends the run; between runs it is noted, because it would end the process, and joblib kills
    all processes when one of them ends. Once a process has been asked to stop, no further run begins in it.
    """

    @functools.wraps(run)
    def wrapped(config: Any, task: Any, folder: Any, codes: list[int], show_tracebacks: bool) -> Outcome:
        if multiprocessing.current_process().name == "MainProcess":
            return run(config, task, folder, codes, show_tracebacks)
        codes += [128 + signum for signum in _received]
        for signum in (*_STOPPING, PASSED_ON):
            signal.signal(signum, _stop)
        outcome = run(config, task, folder, codes, show_tracebacks)
        for signum in (*_STOPPING, PASSED_ON):
            signal.signal(signum, _note)
        if outcome.code - 128 in (*_STOPPING, PASSED_ON):
            _received.append(outcome.code - 128)
        return outcome

    return wrapped


def _stop(signum: int, frame: FrameType | None) -> None:
    _received.append(signum)
    if len(_received) == 1:  # Ctrl-C also reaches this process from the terminal
        raise Interrupted(signum)


def _note(signum: int, frame: FrameType | None) -> None:
    _received.append(signum)
