"""What is written to disk has a place of its own: one writer over the file of another damages both."""

import os
from itertools import combinations

from edge.config.findings import Findings
from edge.config.types import RuntimeConfig

# What each writes beside its path; "" is the path.
_FILES = {"outbox.path": ("", "-wal", "-shm", "-journal"), "checkpoint.path": ("", ".new"), "recording.path": ()}  # the last is a folder


def check_paths(config: RuntimeConfig, found: Findings) -> None:
    """Note paths that are one, or that lead through the file of another."""
    wanted = {"outbox.path": config.outbox.path, "checkpoint.path": config.checkpoint.path, "recording.path": config.recording.path}
    paths = {key: os.path.realpath(path) for key, path in wanted.items() if path}
    for one, other in combinations(paths, 2):
        if paths[one] == paths[other]:
            found.add(other, f"{wanted[other]!r} is {one} too; each needs a path of its own", needs=[one])
        for key, file_of in ((one, other), (other, one)):
            if file := next((paths[file_of] + end for end in _FILES[file_of] if _leads_through(paths[key], paths[file_of] + end)), ""):
                found.add(key, f"{wanted[key]!r} is or is inside {file!r}, which is a file of {file_of}", needs=[file_of])


def _leads_through(path: str, file: str) -> bool:
    return path == file or path.startswith(file + os.sep)
