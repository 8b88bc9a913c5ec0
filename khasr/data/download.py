"""An archive from the web, whole or not at all: resumed where it broke off, its size and checksum looked at."""

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
    """The file at the URL, at `path`; nothing is fetched where it is there already.

    What has come so far waits in PATH.partial, which another start goes on with. A connection that breaks is taken up
    again up to four times in a row without anything coming, `pause` seconds (then twice, four times ...) later.

    Args:
        size: in bytes, and sha256: of the whole, in hex; None where they are not known.

    Raises:
        FileNotFoundError: the server has no such file.
        ValueError: it is of another size or checksum than expected; what came is deleted.
        OSError: the server cannot be reached or breaks off again and again, or the disk is full.
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
                    f"{url}: the server answers {status}. data.url=URL names another mirror; or fetch the archive "
                    "yourself and pass data.root=FILE."
                ) from None
            came = (partial.stat().st_size if partial.exists() else 0) - before
            failures = 1 if came > 0 else failures + 1
            if failures == _ATTEMPTS:
                why = f"it answers {status}" if status else (str(error) or type(error).__name__)
                kept = (
                    f"{before:,} bytes are kept in {partial}, and the next start goes on from there. " if before else ""
                )
                raise ConnectionError(
                    f"{url}: {_ATTEMPTS} attempts in a row brought nothing ({why}). {kept}data.url=URL names another "
                    "mirror; data.root=FILE takes an archive that you have."
                ) from None
            time.sleep(pause * 2 ** (failures - 1))


def _fetch_rest(url: str, partial: Path, start: int, size: int | None, progress: bool) -> None:
    headers = {"Range": f"bytes={start}-"} if start else {}
    # Compressed on the way, lengths and places would be others than the file's.
    headers["Accept-Encoding"] = "identity"
    with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as response:
        if response.status_code == 416:
            # We have more than there is, of another file perhaps.
            partial.unlink()
            raise httpx.ReadError("the server has less than was fetched before")
        response.raise_for_status()
        if response.status_code != 206:
            start = 0  # the server sends the whole, whatever was asked
        promised = int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        if size is not None and promised is not None and start + promised != size:
            raise ValueError(
                f"{url}: the server has {start + promised:,} bytes, where {size:,} were expected: it is another file. "
                "data.url=URL names another mirror."
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
    wrong = f"{found:,} bytes came, where {size:,} were expected" if size is not None and found != size else ""
    if not wrong and sha256 is not None:
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        wrong = f"its SHA-256 is {digest}, where {sha256} was expected" if digest != sha256.lower() else ""
    if wrong:
        partial.unlink()
        raise ValueError(
            f"{url}: {wrong}. What came was deleted; start again, or name another mirror with data.url=URL."
        )
