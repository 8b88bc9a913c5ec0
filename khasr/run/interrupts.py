"""Signals that stop a run at the end of an optimizer step, from where it can be resumed."""

import os
import signal
import sys
from types import FrameType, TracebackType

PASSED_ON = signal.SIGURG
"""Sent to the runs of a sweep by the process that started them, to which a terminal may have sent SIGINT as well.

A process that does not handle it ignores it, and nothing else sends it.
"""

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, PASSED_ON)
_REASONS = {int(signal.SIGALRM): "The budget is spent", int(PASSED_ON): "The sweep was stopped"}


class Interrupted(Exception):  # noqa: N818 - a requested stop, not an error
    """A signal stopped the run.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    def __str__(self) -> str:
        """The signal by its name."""
        return f"stopped by {signal.Signals(self.signum).name}"


def preempting_signals() -> tuple[signal.Signals, ...]:
    """Signals that announce a preemption: the machine is taken away, and the run is to be resumed elsewhere.

    SIGUSR1 is the signal requested from Slurm (`--signal=USR1@300`); submitit requests its own. SIGTERM is not among
    them: wandb's agent sends it to a trial that is not worth finishing.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return (signal.SIGUSR1,)
    return signal.SIGUSR1, signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


class StopSignals:
    """While entered, SIGINT, SIGTERM, SIGALRM (a budget) and the preempting signals request that the run stops.

    During training the run stops after the current optimizer step; a second signal raises `Interrupted` immediately.
    Outside training there is no step to finish, and the first signal raises `Interrupted`. A signal that is passed on
    is not a second one.

    Attributes:
        requested: the signal that was received, or None.
        training: whether optimizer steps are being taken.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self.training = False
        self._stopping = False
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
        """Installs the handlers; called again after Lightning has installed its own."""
        for signum in self._signals:
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._stopping and signum == PASSED_ON:
            return
        self._stopping = True
        if not self.training or self.requested is not None:
            raise Interrupted(signum)
        self.requested = signum
        reason = _REASONS.get(signum, f"{signal.Signals(signum).name} received")
        print(
            f"\n{reason}: the run is saved and stops after this step. A second signal stops it immediately, unsaved.",
            file=sys.stderr,
            flush=True,
        )
