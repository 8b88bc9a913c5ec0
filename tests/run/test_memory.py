"""The memory that a process may use."""

from pathlib import Path

import pytest

from khasr.run.memory import available_memory_gib


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 8.0),
        ({"job": "max"}, 8.0),
        ({"job": "4096"}, 3.0),  # 1 GiB is used
        ({"job/step": "max", "job": "2048"}, 1.0),  # of the group around it
        ({"job": "512"}, 0.0),
        ({"other": "512"}, 8.0),
    ],
)
def test_available_memory(tmp_path: Path, limits: dict[str, str], expected: float) -> None:
    """What is available, within the limits of the process's control groups; cached files are not counted as used."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:  {8 * 2**20} kB\n")
    (proc / "self" / "cgroup").write_text("0::/job/step\n")
    for name, limit in limits.items():
        (groups / name).mkdir(parents=True, exist_ok=True)
        size = limit if limit == "max" else str(int(limit) * 2**20)
        (groups / name / "memory.max").write_text(f"{size}\n")
        (groups / name / "memory.current").write_text(f"{3 * 2**30}\n")
        (groups / name / "memory.stat").write_text(f"anon 1\ninactive_file {2 * 2**30}\n")
    assert available_memory_gib(proc, groups) == expected


def test_this_machine() -> None:
    assert 0 < available_memory_gib() < 2**20
