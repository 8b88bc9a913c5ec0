"""Learning-rate schedules: lr as a fraction of its peak at each optimizer step."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from khasr.config import CosineConfig, ScheduleConfig, TriStageConfig, WarmupHoldDecayConfig


def lr_scale(options: ScheduleConfig, total_steps: int) -> Callable[[int], float]:
    """lr as a fraction of its peak, as a function of the number of completed optimizer steps (0 at the first)."""
    warmup = in_steps(options.warmup, total_steps)
    initial = options.initial_scale if isinstance(options, TriStageConfig) else 0.0
    past_warmup = _after_warmup(options, warmup, total_steps)

    def scale(step: int) -> float:
        if step < warmup:
            return initial + (1 - initial) * step / warmup
        return past_warmup(step)

    return scale


def _after_warmup(options: ScheduleConfig, warmup: int, total_steps: int) -> Callable[[int], float]:
    # At least 1: the warm-up may be as long as the run.
    left = max(1, total_steps - warmup)
    if isinstance(options, TriStageConfig):
        hold = in_steps(options.hold, total_steps)
        decay = max(1, total_steps - warmup - hold)

        def tri_stage(step: int) -> float:
            # fairseq's TriStageLRSchedule: exponential decay that reaches final_scale at the last step.
            past = min(decay, max(0, step - warmup - hold))
            return math.exp(math.log(options.final_scale) * past / decay)

        return tri_stage
    if isinstance(options, WarmupHoldDecayConfig):
        down = min(left, max(1, in_steps(options.decay, total_steps)))

        def hold_decay(step: int) -> float:
            return options.final_scale + (1 - options.final_scale) * min(1.0, max(0, total_steps - step) / down)

        return hold_decay
    if isinstance(options, CosineConfig):

        def cosine(step: int) -> float:
            done = min(1.0, (step - warmup) / left)
            return options.final_scale + (1 - options.final_scale) * 0.5 * (1 + math.cos(math.pi * done))

        return cosine

    def linear(step: int) -> float:
        # transformers' get_linear_schedule_with_warmup.
        return max(0.0, (total_steps - step) / left)

    def constant(step: int) -> float:
        return 1.0

    def inverse_sqrt(step: int) -> float:
        return math.sqrt(max(1, warmup) / max(1, warmup, step))

    return {"linear": linear, "constant": constant, "inverse_sqrt": inverse_sqrt}[options.name]


def in_steps(length: float, total_steps: int) -> int:
    """A length in optimizer steps; a value below 1 is a fraction of the run."""
    return round(length * total_steps) if length < 1 else int(length)


def build_schedule(options: ScheduleConfig, optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """The schedule of an optimizer's lr over a run of that many steps."""
    return LambdaLR(optimizer, lr_scale(options, total_steps))
