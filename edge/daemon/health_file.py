"""The health message as a file on this machine, for when no broker carries it: in the directory that the service manager gives, on tmpfs.

Written by the loop: some hundred bytes to memory, at most once a second, put in place by a rename so that nobody reads half of one.
"""

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

_log = logging.getLogger(__name__)

NAME = "health.json"
LEAST_S = 1.0  # from one writing to the next
_DIRECTORY = "RUNTIME_DIRECTORY"
_MODE = 0o644  # whoever may log in may ask how it is


def period_s(every_s: float) -> float:
    """From one writing to the next while nothing changes.

    Args:
        every_s: of the status.
    """
    return max(LEAST_S, every_s)


class HealthFile:
    """The file of one daemon.

    Args:
        folder: where it is.
        held: tells how many alerts are not delivered yet; None: nobody knows.
    """

    def __init__(self, folder: Path, held: Callable[[], int] | None = None) -> None:
        self.path, self._held = folder / NAME, held
        self._beside = folder / f".{NAME}"
        self._written_ns: int | None = None
        self._changes = -1
        self._is_failing = False

    @classmethod
    def from_environment(cls, held: Callable[[], int] | None = None) -> "HealthFile | None":
        """In the first directory that the service manager made for this process; None: it made none."""
        folder = os.environ.get(_DIRECTORY, "").split(":")[0]
        return cls(Path(folder), held) if folder else None

    def is_due(self, changes: int, every_s: float, now_ns: int) -> bool:
        """Whether it must be written.

        Args:
            changes: how often the health changed so far.
            every_s: of the status.
            now_ns: CLOCK_MONOTONIC.
        """
        if self._written_ns is None:
            return True
        limit_s = LEAST_S if changes != self._changes else period_s(every_s)
        return now_ns - self._written_ns >= limit_s * 1e9

    def write(self, report: Mapping[str, Any], changes: int, every_s: float, now_ns: int) -> None:
        """Write it, with who wrote it and when; a failure is logged once and changes nothing else.

        Args:
            report: the health.
            changes, every_s, now_ns: see ``is_due``.
        """
        self._written_ns, self._changes = now_ns, changes
        whole = {**report, "pid": os.getpid(), "mono_ns": now_ns, "every_s": every_s}
        whole |= {"alerts_held": self._held()} if self._held is not None else {}
        try:
            descriptor = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
            with open(descriptor, "wb", buffering=0) as file:
                os.fchmod(descriptor, _MODE)  # a unit's umask
                file.write(msgspec.json.encode(whole))
            self._beside.replace(self.path)
        except OSError as fault:
            if not self._is_failing:
                _log.warning("%s cannot be written: %s; edge status has to ask the broker", self.path, fault.strerror)
            self._is_failing = True
        else:
            self._is_failing = False

    def remove(self) -> None:
        """The end: nobody is there."""
        with suppress(OSError):
            self.path.unlink()
