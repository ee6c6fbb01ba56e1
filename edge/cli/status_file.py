"""What a daemon on this machine says of itself in a file, where no broker can tell it; and whether that is news."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from edge.daemon.health_file import NAME, period_s

RUN_DIR = Path("/run/edge")
PERIODS = 3  # older than so many: whoever wrote it does not any longer
_MAX_BYTES = 1_000_000


def told_in_file(run_dir: Path, name: str) -> dict[str, Any] | None:
    """What the daemon of this name says; news first when several did. None: there is no file of it.

    Args:
        run_dir: with a directory for each instance.
        name: of the daemon, as it says itself: a unit's instance may be called otherwise.

    Returns:
        ``availability`` (``online``, or ``no news`` when the file is old or its process gone), ``health``, and ``file`` with its ``path``,
        ``age_s`` and ``text``.
    """
    found = [one for path in _files(run_dir) if (one := _told(path, name)) is not None]
    return min(found, key=lambda one: (one["availability"] != "online", one["file"]["age_s"]), default=None)


def closed_to_us(run_dir: Path) -> list[Path]:
    """Directories and files there that this user may not read, so that nobody takes them for absent."""
    return [path for path in (run_dir, *_files(run_dir)) if _is_closed(path)]


def _is_closed(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as fault:
        return isinstance(fault, PermissionError)
    return False


def _files(run_dir: Path) -> list[Path]:
    """Where a word may be. Not by a pattern: that passes over what is closed, without a word."""
    try:
        return [folder / NAME for folder in sorted(run_dir.iterdir())]
    except OSError:
        return []


def _told(path: Path, name: str) -> dict[str, Any] | None:
    health = _read(path)
    if health is None or health.get("name") != name:
        return None
    try:
        pid, age_s = int(health["pid"]), (time.monotonic_ns() - int(health["mono_ns"])) / 1e9
        limit_s = PERIODS * period_s(float(health["every_s"]))
    except (KeyError, TypeError, ValueError):
        return None
    fault = ""
    if not 0 <= age_s <= limit_s:  # the clock begins anew with the machine
        fault = f"older than {limit_s:g} s" if age_s > 0 else "of before this machine started"
    if not _is_alive(pid):
        fault = f"its process {pid} is gone"
    text = f"said in {path}, {max(age_s, 0):.1f} s old"
    file = {"path": str(path), "age_s": round(age_s, 3), "text": f"{text}: {fault}" if fault else text}
    return {"availability": "no news" if fault else "online", "health": health, "file": file}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            found = msgspec.json.decode(file.read(_MAX_BYTES))
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's
        return pid < 2**31
    return True
