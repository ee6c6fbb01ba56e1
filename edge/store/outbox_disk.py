"""What an outbox's file lies on: a file system in memory is no disk, whatever a sync of it says."""

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


def in_memory(folder: Path, mounts: Path = MOUNTS) -> str:
    """The type of a folder's file system, if that is in memory; "" if it is not, or nobody says.

    Args:
        folder: there.
        mounts: of the kernel, a line for each: number, parent, device, ... - type, source, options.
    """
    try:
        device = os.stat(folder).st_dev
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        mount, _, about = line.partition(" - ")
        kind = about.split(" ", 1)[0]
        if kind in _IN_MEMORY and mount.split(" ")[2:3] == [wanted]:
            return kind
    return ""
