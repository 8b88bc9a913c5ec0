"""Signals that stop a run at the end of an optimizer step, where it can go on from."""

import os
import signal
import sys
from types import FrameType, TracebackType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


class Interrupted(Exception):  # noqa: N818 - what happened, not an error
    """The run was asked to stop.

    Attributes:
        signum: the signal that asked.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    def __str__(self) -> str:
        """The signal by its name."""
        return f"stopped by {signal.Signals(self.signum).name}"


def preempting_signals() -> tuple[signal.Signals, ...]:
    """Signals that say that the machine is taken away and the run is to go on elsewhere.

    SIGUSR1 is what Slurm is asked to send (`--signal=USR1@300`); submitit asks for its own. SIGTERM is none: wandb's
    agent sends it to a trial that is not worth going on with.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return (signal.SIGUSR1,)
    return signal.SIGUSR1, signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


class StopSignals:
    """While entered, SIGINT, SIGTERM, SIGALRM (a budget) and those that preempt ask the run to stop; a second one stops
    it where it is.

    Outside training there is no step to finish, and the first one raises `Interrupted` at once.

    Attributes:
        requested: the signal that asked, or None.
        training: whether optimizer steps are being taken.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self.training = False
        self._signals = dict.fromkeys((*_STOPPING, *preempting_signals()))
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {signum: signal.getsignal(signum) for signum in self._signals}
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    def install(self) -> None:
        """Takes the signals over; again where Lightning has put its own handlers in between."""
        for signum in self._signals:
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self.training or self.requested is not None:
            raise Interrupted(signum)
        self.requested = signum
        why = "the budget is spent" if signum == signal.SIGALRM else signal.Signals(signum).name
        print(
            f"\n{why}: stopping after this step and saving; once more stops at once, without saving.",
            file=sys.stderr,
            flush=True,
        )
