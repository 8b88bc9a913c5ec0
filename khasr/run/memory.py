"""The memory of a machine that a process may use."""

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_memory_gib(proc: Path = Path("/proc"), cgroups: Path = _CGROUPS) -> float:
    """Memory in GiB that this process can still allocate: what is available, within the limits of its control groups.

    Containers and Slurm limit memory by control groups (version 2). Without Linux's files: all memory.
    """
    if not (proc / "meminfo").is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text(encoding="utf-8").splitlines())
    available = 1024 * int(fields["MemAvailable"].split()[0])
    own = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    path = next((line.removeprefix("0::/") for line in own if line.startswith("0::/")), None)
    group = cgroups if path is None else cgroups / path
    while path is not None and group.is_relative_to(cgroups):
        available = min(available, _left_in(group, available))
        group = group.parent
    return available / 2**30


def _left_in(group: Path, most: int) -> int:
    """The bytes that a control group still allows; `most` without a limit."""
    try:
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        used = int((group / "memory.current").read_text(encoding="utf-8"))
        files = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    except OSError:
        return most
    if limit == "max":
        return most
    # Cached files count as used until their memory is needed.
    return max(0, int(limit) - used + int(files.get("inactive_file", 0)))
