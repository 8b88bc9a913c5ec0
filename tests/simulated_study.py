"""The generator of experiments/planted_truths, for the tests."""

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).resolve().parents[1] / "experiments" / "planted_truths" / "simulated.py"
_spec = importlib.util.spec_from_file_location("simulated", _PATH)
assert _spec is not None
assert _spec.loader is not None
simulated = importlib.util.module_from_spec(_spec)
sys.modules["simulated"] = simulated
_spec.loader.exec_module(simulated)

Plan, simulate, write_folders = simulated.Plan, simulated.simulate, simulated.write_folders
SETTINGS: dict[str, list[float]] = simulated.SETTINGS


def reference(runs: object) -> dict[str, float]:
    """The settings that the simulation starts from."""
    return {name: values[0] for name, values in SETTINGS.items() if name in runs.options}  # type: ignore[attr-defined]
