"""The lock of a run's folder: one process at a time trains, tunes or exports a run, or evaluates into its folder."""

import contextlib
import errno
from collections.abc import Iterator

from filelock import FileLock, Timeout

from khasr.run.folder import RunFolder

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def lock_run(folder: RunFolder) -> Iterator[None]:
    """Holds the lock of a run's folder while entered; creates the folder if it does not exist.

    The operating system releases the lock when its process ends, however it ends. A folder that this process cannot
    write to is not locked.

    Raises:
        ValueError: a different process holds the lock.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.lock, timeout=0)
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{folder.path} is in use: a running process trains, tunes, evaluates or exports this run. Wait "
            "until it has ended, or choose a different folder for a new run (hydra.run.dir=DIR)."
        ) from None
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.lock.unlink()  # before the release: filelock does not accept a lock on a removed file
        lock.release()
