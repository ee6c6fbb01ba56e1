"""Files that are whole after a power cut: written under another name, synced, renamed, and the folder synced.

Every step is one call of ``os``, which is what the crash tests count and cut at.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from edge.errors import BundleError

STAGING, TRASH = ".staging-", ".trash-"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_new(path: Path, data: bytes) -> None:
    """Create a file that does not exist, with its bytes synced; the folder is for the caller to sync.

    Raises:
        OSError: it exists, or cannot be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def replace_file(path: Path, data: bytes) -> None:
    """Put bytes in the place of a file: afterwards it holds the old ones or the new ones, whatever happens.

    Raises:
        OSError: it cannot be written; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        write_new(temporary, data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder in ``folder``, gone at the end; held by a lock, so that what a dead process left is told from what is in use."""
    home = folder / f"{STAGING}{secrets.token_hex(8)}"
    os.mkdir(home, 0o755)
    handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield home
    finally:
        with contextlib.suppress(OSError):
            remove_tree(home)
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what interrupted installs and removals left. The caller holds the registry's lock."""
    for name in os.listdir(folder):
        if not name.startswith((STAGING, TRASH)):
            continue
        with contextlib.suppress(OSError):
            handle = os.open(folder / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder / name)
            finally:
                os.close(handle)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; links are removed, not followed.

    Raises:
        OSError: something in it cannot be removed.
    """
    for name in os.listdir(folder):
        path = folder / name
        if stat.S_ISDIR(os.lstat(path).st_mode):
            remove_tree(path)
        else:
            os.unlink(path)
    os.rmdir(folder)


def discard(folder: Path, name: str) -> None:
    """Take a version away in one step, then free its room."""
    trash = folder / f"{TRASH}{secrets.token_hex(8)}"
    os.rename(folder / name, trash)
    sync_folder(folder)
    remove_tree(trash)


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """An error of the disk as one line.

    Raises:
        BundleError: for any OSError inside.
    """
    try:
        yield
    except OSError as e:
        where = e.filename or folder
        if e.errno in _NO_ROOM:
            raise BundleError(f"{where}: no room: {e.strerror}; nothing was changed, free some space and try again") from e
        raise BundleError(f"{where}: {e.strerror or e}; a folder that this user may write is right") from e
