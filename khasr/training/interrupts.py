"""Ctrl-C and SIGTERM: a run stops at the end of an optimizer step, where it can go on from."""

import signal
import sys
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 - what happened, not an error
    """The run was asked to stop.

    Attributes:
        signum: the signal that asked.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class StopSignals:
    """While entered, SIGINT and SIGTERM ask the run to stop; a second one stops it where it is.

    Outside training there is no step to finish, and the first one raises `Interrupted` at once.

    Attributes:
        requested: the signal that asked, or None.
        training: whether optimizer steps are being taken.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self.training = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    def install(self) -> None:
        """Takes the signals over; again where Lightning has put its own handlers in between."""
        for signum in _SIGNALS:
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self.training or self.requested is not None:
            raise Interrupted(signum)
        self.requested = signum
        print(
            f"\n{signal.Signals(signum).name}: stopping after this step and saving; once more stops at once, "
            "without saving.",
            file=sys.stderr,
            flush=True,
        )
