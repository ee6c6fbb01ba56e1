"""Damaged files of an outbox, renamed and kept for whoever wants to know what happened to them."""

import contextlib
import os
import time
from pathlib import Path

DAMAGED_KEPT = 3  # files set aside; the oldest beyond are deleted, so that a disk that damages files is not filled by them


def set_aside(path: Path) -> Path:
    """Rename a damaged file with its log, so that a new one can begin.

    Returns:
        Its new name.

    Raises:
        OSError: the folder does not let us.
    """
    aside = name_aside(path)
    for suffix in ("-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, aside)
    delete_old(path)
    return aside


def name_aside(path: Path) -> Path:
    """A name that says when."""
    return path.with_name(f"{path.name}.damaged-{time.time_ns() // 1_000_000}")


def delete_old(path: Path) -> None:
    """Delete the oldest of those beyond."""
    old = sorted(one for one in path.parent.glob(f"{path.name}.damaged-*") if not one.name.endswith(("-wal", "-shm", "-journal")))
    for one in old[:-DAMAGED_KEPT]:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{one}{suffix}").unlink(missing_ok=True)
