"""Which checkpoints a run keeps at its end."""

import shutil
from pathlib import Path

import pytest

from khasr.cli.multirun.sweep import for_sweep
from khasr.run.folder import RunFolder
from khasr.run.outcome import is_unfinished
from khasr.training.fit import _drop_checkpoints, fit
from tests.small_runs import Small, read_results

ALL = {"best.ckpt", "last.ckpt", "start.ckpt"}


@pytest.mark.parametrize(
    ("status", "keep_last", "keep_pruned", "kept"),
    [
        ("completed", "auto", False, ALL),
        ("completed", "always", False, ALL),
        ("completed", "never", False, {"best.ckpt"}),
        ("diverged", "never", False, {"best.ckpt"}),
        ("interrupted", "never", False, ALL),
        ("failed", "never", False, ALL),
        ("pruned", "always", False, set()),
        ("pruned", "never", True, ALL),
    ],
)
def test_kept_checkpoints(
    small: Small, tmp_path: Path, status: str, keep_last: str, keep_pruned: bool, kept: set[str]
) -> None:
    config, folder = small(), RunFolder(tmp_path)
    config.trainer.keep_last, config.sweep.keep_pruned = keep_last, keep_pruned  # type: ignore[assignment]
    folder.checkpoints.mkdir()
    for name in (*ALL, "kept_3.ckpt"):
        (folder.checkpoints / name).touch()
    _drop_checkpoints(config, folder, status)
    assert {path.name for path in folder.checkpoints.iterdir()} - {"kept_3.ckpt"} == kept


def test_sweep_drops_last(small: Small) -> None:
    """auto: a run of a sweep drops last.ckpt, unless its options say otherwise."""
    assert for_sweep(small()).trainer.keep_last == "never"
    assert for_sweep(small("trainer.keep_last=always")).trainer.keep_last == "always"


def test_dropped_last(small: Small, finished: Path, tmp_path: Path) -> None:
    """A completed run without last.ckpt keeps its results and its weights, and a message says why it is not extended."""
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(finished, folder.path)
    folder.drop_checkpoints(keep=(folder.best,))
    assert folder.weights == folder.best
    config, results = folder.read_config(), read_results(folder.path)
    assert not is_unfinished(folder.path, config)
    config.resume, config.trainer.max_steps = str(folder.path), 12
    with pytest.raises(
        FileNotFoundError, match=r"the run is completed, and its last\.ckpt, .*trainer\.keep_last=always"
    ):
        fit(config, folder)
    assert read_results(folder.path) == results
