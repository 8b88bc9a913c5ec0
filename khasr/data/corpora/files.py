"""What the corpora share: the cache folder, digests and file stamps."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from khasr.config import DataConfig


def cache_folder(options: DataConfig) -> Path:
    """The folder of 16 kHz audio and archives: data.cache_dir, else $KHASR_CACHE, else ~/.cache/khasr."""
    return Path(options.cache_dir or os.environ.get("KHASR_CACHE") or "~/.cache/khasr").expanduser()


def digest(*parts: object) -> str:
    """A hex digest of the parts as text."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "backslashreplace")).hexdigest()


def stamps(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Name, size and modification time of each file that exists: they show a change without reading the audio."""
    found = []
    for path in paths:
        if path.exists():
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return found
