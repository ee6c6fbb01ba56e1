"""Threads beside the loop. They, and the processes that they start, run where the whole process may: not on the core that the loop took.

A thread inherits the processors of the one that starts it. The loop pins itself once it is warm, and what it starts later (proving a model,
dialling, reading a file again) would share its core for seconds.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

_everywhere: set[int] = set()  # as it was before the loop took its core; empty: it took none


def pin(cpus: Iterable[int]) -> None:
    """Move the calling thread to these processors; helpers stay where it was allowed before.

    Raises:
        OSError: they are not there, or it is not permitted.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    if not _everywhere:
        _everywhere.update(before)


def helper(name: str, target: Callable[..., object], *args: Any) -> threading.Thread:
    """A thread that does not keep the process from ending; to be started by the caller.

    Args:
        name: for logs and tools.
        target: called with `args`, with the processors that the process had before the loop took its own.
    """

    def run() -> None:
        if _everywhere:
            with contextlib.suppress(OSError):  # a cpuset may have become smaller meanwhile
                os.sched_setaffinity(0, _everywhere)
        target(*args)

    return threading.Thread(target=run, name=name, daemon=True)
