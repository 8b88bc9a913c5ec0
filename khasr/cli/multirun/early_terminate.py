"""`early_terminate` of a wandb sweep file as a pruner of a Hydra search."""

import math
import sys
from pathlib import Path
from typing import Any

from khasr.cli.resume import parse_overrides
from khasr.config import compose

_DEFAULT_ETA = 3  # wandb's


def pruner_words(file: Path, sweep: dict[str, Any], words: list[str]) -> list[str]:
    """The overrides that stop trials where wandb would; none if the file has no early_terminate.

    wandb's hyperband is asynchronous successive halving: after min_iter validations, and after each eta times as many,
    the best 1/eta of the runs that got there continue. khasr counts shares of a run instead.

    Args:
        file: the sweep file, for messages.
        sweep: its contents.
        words: the overrides of all runs.

    Raises:
        ValueError: early_terminate is not wandb's hyperband, or eta is not an integer of at least 2.
    """
    options = sweep.get("early_terminate")
    if options is None:
        return []
    if not isinstance(options, dict) or options.get("type") != "hyperband" or not _is_hyperband(options):
        raise ValueError(
            f"{file}: early_terminate is {options}. Expected {{type: hyperband, min_iter: VALIDATIONS}} or {{type: "
            "hyperband, max_iter: VALIDATIONS, s: NUMBER}, with an integer eta of at least 2."
        )
    eta = options.get("eta", _DEFAULT_ETA)
    first = options["min_iter"] if "min_iter" in options else max(1, options["max_iter"] // eta ** options["s"])
    halving = ["sweep.pruner=asha", f"sweep.reduction_factor={eta}"]
    share = _share_between_validations(words)
    if share is None:
        print(
            f"{file}: early_terminate counts validations, and the number of validations in a run is not known or not "
            "the same for all: trials are compared from sweep.grace on, a tenth of the run unless set. "
            "trainer.val_every_steps=0.05 validates every run 20 times.",
            file=sys.stderr,
        )
        return halving
    if first * share >= 1:
        return []  # the runs end before the first decision
    return [*halving, f"sweep.grace={first * share:.6g}"]


def grid_search_words(words: list[str]) -> list[str]:
    """The overrides that run a grid as a search, which can be pruned."""
    swept = [o for o in parse_overrides([w for w in words if w != "-m"]) if o.is_sweep_override()]
    runs = math.prod(len(list(o.sweep_string_iterator())) for o in swept)
    return ["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", f"hydra.sweeper.n_trials={runs}"]


def _is_hyperband(options: dict[str, Any]) -> bool:
    eta = options.get("eta", _DEFAULT_ETA)
    counts = [options["min_iter"]] if "min_iter" in options else [options.get("max_iter"), options.get("s")]
    return all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in [*counts, eta]) and eta >= 2


def _share_between_validations(words: list[str]) -> float | None:
    """The share of a run from one validation to the next; None if it is not known, or differs between runs."""
    overrides = parse_overrides([word for word in words if word != "-m"])
    swept = {o.key_or_group for o in overrides if o.is_sweep_override()}
    if "trainer.val_every_steps" in swept:
        return None
    fixed = [o for o in overrides if not o.is_sweep_override() and not _of_hydra(o.key_or_group)]
    share = next((o.value() for o in fixed[::-1] if o.key_or_group == "trainer.val_every_steps"), None)
    if isinstance(share, float) and share < 1:
        return share
    trainer = compose(*(o.input_line or "" for o in fixed)).trainer
    if trainer.val_every_steps < 1:
        return trainer.val_every_steps
    if trainer.max_steps is None or "trainer.max_steps" in swept:
        return None
    return trainer.val_every_steps / trainer.max_steps


def _of_hydra(key: str) -> bool:
    return key.split(".")[0].split("/")[0] == "hydra"
