"""Learning-rate schedules: the share of the peak lr at each optimizer step."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from khasr.config import ScheduleConfig, TriStageConfig


def lr_scale(options: ScheduleConfig, total_steps: int) -> Callable[[int], float]:
    """lr as a share of its peak, as a function of optimizer steps done (0 before the first)."""
    warmup = in_steps(options.warmup, total_steps)
    if isinstance(options, TriStageConfig):
        hold = in_steps(options.hold, total_steps)
        decay = max(1, total_steps - warmup - hold)

        def tri_stage(step: int) -> float:
            if step < warmup:
                return options.initial_scale + (1 - options.initial_scale) * step / warmup
            # fairseq's TriStageLRSchedule: exponential, so that final_scale is reached at the last step.
            past = min(decay, max(0, step - warmup - hold))
            return math.exp(math.log(options.final_scale) * past / decay)

        return tri_stage

    def linear(step: int) -> float:
        # transformers' get_linear_schedule_with_warmup.
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (total_steps - step) / max(1, total_steps - warmup))

    def constant(step: int) -> float:
        return min(1.0, step / warmup) if warmup else 1.0

    return {"linear": linear, "constant": constant}[options.name]


def in_steps(length: float, total_steps: int) -> int:
    """A length in optimizer steps: itself, or a share of the run where below 1."""
    return round(length * total_steps) if length < 1 else int(length)


def build_schedule(options: ScheduleConfig, optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """The schedule of an optimizer's lr over a run of that many steps."""
    return LambdaLR(optimizer, lr_scale(options, total_steps))
