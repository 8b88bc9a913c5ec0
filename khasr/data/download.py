"""Resumable download of an archive, with its size and checksum verified."""

import hashlib
import os
import time
from pathlib import Path

import httpx
from filelock import FileLock
from tqdm import tqdm

_ATTEMPTS = 5

_CHUNK = 2**20

_TIMEOUT = httpx.Timeout(30.0)


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: bool = True,
    pause: float = 1.0,
) -> Path:
    """Downloads the URL to `path`, unless the file exists, and returns the path.

    The file is written to PATH.partial, from which the next call resumes. A broken connection is retried; five attempts
    in a row without new data end the download.

    Args:
        size: expected size in bytes, None if unknown.
        sha256: expected checksum in hex, None if unknown.
        pause: seconds before the first retry, doubled for each further one.

    Raises:
        FileNotFoundError: the server has no such file.
        ValueError: size or checksum differ from the expected ones; the partial file is deleted.
        OSError: the server cannot be reached or keeps breaking the connection, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.is_file():
            return path
        partial = path.with_name(f"{path.name}.partial")
        _fetch(url, partial, size, progress, pause)
        _check(url, partial, size, sha256)
        partial.replace(path)
    return path


def _fetch(url: str, partial: Path, size: int | None, progress: bool, pause: float) -> None:
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        if size is not None and before >= size:
            return
        try:
            _fetch_rest(url, partial, before, size, progress)
            return
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            if status is not None and status < 500 and status not in (408, 429):
                kind = FileNotFoundError if status in (404, 410) else ConnectionError
                raise kind(
                    f"{url}: the server answered with status {status}. Set data.url=URL to a different mirror, or "
                    "download the archive by other means and set data.root=FILE."
                ) from None
            came = (partial.stat().st_size if partial.exists() else 0) - before
            failures = 1 if came > 0 else failures + 1
            if failures == _ATTEMPTS:
                why = f"status {status}" if status else (str(error) or type(error).__name__)
                kept = f"{before:,} bytes are kept in {partial}; the next start resumes from there. " if before else ""
                raise ConnectionError(
                    f"{url}: {_ATTEMPTS} attempts in a row received no data ({why}). {kept}Set data.url=URL to a "
                    "different mirror, or data.root=FILE to an archive on this machine."
                ) from None
            time.sleep(pause * 2 ** (failures - 1))


def _fetch_rest(url: str, partial: Path, start: int, size: int | None, progress: bool) -> None:
    headers = {"Range": f"bytes={start}-"} if start else {}
    # With a compressed transfer, lengths and offsets would not be those of the file.
    headers["Accept-Encoding"] = "identity"
    with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as response:
        if response.status_code == 416:
            # The partial file is longer than the file on the server, so it is a different file.
            partial.unlink()
            raise httpx.ReadError("the server's file is shorter than the partial one")
        response.raise_for_status()
        if response.status_code != 206:
            start = 0  # the server ignored the range and sends the whole file
        promised = int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        if size is not None and promised is not None and start + promised != size:
            raise ValueError(
                f"{url}: the server's file has {start + promised:,} bytes, expected {size:,}. Set data.url=URL to a "
                "different mirror."
            )
        with (
            partial.open("ab" if start else "wb") as file,
            tqdm(
                desc=partial.name.removesuffix(".partial"),
                initial=start,
                total=size or (start + promised if promised is not None else None),
                unit="B",
                unit_scale=True,
                disable=None if progress else True,
                leave=False,
            ) as bar,
        ):
            try:
                for chunk in response.iter_raw(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            finally:
                file.flush()
                os.fsync(file.fileno())


def _check(url: str, partial: Path, size: int | None, sha256: str | None) -> None:
    found = partial.stat().st_size
    wrong = f"received {found:,} bytes, expected {size:,}" if size is not None and found != size else ""
    if not wrong and sha256 is not None:
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        wrong = f"its SHA-256 is {digest}, expected {sha256}" if digest != sha256.lower() else ""
    if wrong:
        partial.unlink()
        raise ValueError(
            f"{url}: {wrong}. The partial file was deleted. Start again, or set data.url=URL to a different mirror."
        )
