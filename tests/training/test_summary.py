"""What a run prints at its start: its length, and what changes where it is resumed."""

from copy import deepcopy
from pathlib import Path

import pytest

from khasr.config import Config, FolderConfig, ScheduleConfig
from khasr.training.summary import describe_length, describe_resume


@pytest.mark.parametrize(
    ("warmup", "steps", "line"),
    [
        (0.1, 100, "100 steps, 2.0 epochs; warm-up of 10 steps"),
        (1, 100, "100 steps, 2.0 epochs; warm-up of 1 step"),
        (0, 100, "100 steps, 2.0 epochs; no warm-up"),
        (0.1, 4, "4 steps, 0.1 epochs; no warm-up (schedule.warmup=0.1 of 4 steps is less than half a step)"),
    ],
)
def test_warmup(warmup: float, steps: int, line: str) -> None:
    assert describe_length(ScheduleConfig(warmup=warmup), steps, 50, 0) == line


def test_resume() -> None:
    """The step; and of a longer run the options that changed, and by how much the recomputed schedule moves the lr."""
    before = Config(data=FolderConfig())
    before.optimizer.lr, before.schedule.warmup, before.trainer.max_steps = 1e-3, 0.0, 100
    folder = Path("runs/a")
    assert describe_resume(folder, 40, 100, before, deepcopy(before), 100) == "Resuming runs/a at step 40 of 100."
    longer = deepcopy(before)
    longer.trainer.max_steps, longer.resume = 200, "runs/a"
    assert describe_resume(folder, 100, 200, before, longer, 100) == (
        "Resuming runs/a at step 100 of 200.\n"
        "Changed: trainer.max_steps from 100 to 200.\n"
        "The schedule is recomputed for 200 steps instead of 100: at step 100 the lr jumps from 0 to 0.0005."
    )
    before.schedule.name = longer.schedule.name = "constant"
    assert "the lr stays at 0.001." in describe_resume(folder, 100, 200, before, longer, 100)
    assert describe_resume(folder, 100, 100, before, deepcopy(before), 100) == (
        "Resuming runs/a at step 100 of 100. Training is complete; the best checkpoint is scored again."
    )
