"""One writer of a registry at a time, also across processes."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edge.errors import BundleError

LOCK_FILE = ".lock"
_POLL_S = 0.02


@contextlib.contextmanager
def locked(folder: Path, wait_s: float) -> Iterator[None]:
    """Hold the registry's lock. A process that dies lets go of it.

    Args:
        folder: of the registry.
        wait_s: longest wait for another holder.

    Raises:
        BundleError: held by another for longer; names its process.
        OSError: the lock file cannot be opened.
    """
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        until = time.monotonic() + wait_s
        while not _try(handle):
            if time.monotonic() >= until:
                holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "not known"
                raise BundleError(f"{folder}: is being changed by another process (pid {holder}); waited {wait_s:g} s, try again later")
            time.sleep(_POLL_S)
        os.pwrite(handle, f"{os.getpid():<31}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
