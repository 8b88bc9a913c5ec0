"""The time that training spends in each stage of a batch."""

import time
from typing import Any

import torch

STAGES = ("data", "forward", "backward", "optimizer")


class StageTimes:
    """Seconds in each stage since the last reading.

    A GPU works behind the CPU. There the ends of stages are events in its queue, so that the times are those of the GPU
    and the CPU does not wait at each stage; "data" is then the time in which the GPU has no work.
    """

    def __init__(self) -> None:
        self._on_gpu = False
        # The ends of stages in order; None for time that is not counted.
        self._ends: list[tuple[str | None, Any]] = []

    def start(self, on_gpu: bool) -> None:
        """Starts the clock; time since the last stage is not counted."""
        self._on_gpu = on_gpu
        self._ends.append((None, self._now()))

    def end(self, stage: str) -> None:
        """A stage ends, and the next one begins."""
        self._ends.append((stage, self._now()))

    def read(self) -> dict[str, float]:
        """The seconds in each stage, which are then 0 again; waits for the GPU."""
        seconds = dict.fromkeys(STAGES, 0.0)
        if self._on_gpu and self._ends:
            self._ends[-1][1].synchronize()
        for (_, begin), (stage, end) in zip(self._ends, self._ends[1:], strict=False):
            if stage is not None:
                # Events measure milliseconds.
                seconds[stage] += begin.elapsed_time(end) / 1000 if self._on_gpu else end - begin
        self._ends = self._ends[-1:]
        return seconds

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
