"""Check of the disk that alerts are stored on: its room, and how long a sync takes."""

import os
import tempfile
import time
from pathlib import Path

from edge.build.outbox import state_path
from edge.cli.doctor.finding import FAIL, OK, WARN, Finding, Subject, judge
from edge.store.outbox_disk import in_memory

SYNCS = 30
_MB = 1e6


def check_disk(subject: Subject) -> list[Finding]:
    """Room and speed where the outbox is, or beside the pipeline file."""
    config = subject.config
    path = state_path(config.name, "outbox", config.outbox.path) if config is not None else None
    folder = _existing(path.parent if path is not None else subject.folder)
    wanted_mb = 2 * (config.outbox.max_mb if config is not None else 64.0)
    found = [_room(folder, wanted_mb), _speed(folder, subject)]
    if config is not None and path is None:
        lost = "alerts that wait are lost with the process: outbox.path is not set, and no service manager names a folder"
        mend = "set outbox.path; or install it as a service, which has a folder for them (then: edge service doctor NAME)"
        found.append(Finding("outbox", WARN, "in memory", lost, mend))
    return found


def _room(folder: Path, wanted_mb: float) -> Finding:
    about = os.statvfs(folder)
    free_mb, total_mb = about.f_bavail * about.f_frsize / _MB, about.f_blocks * about.f_frsize / _MB
    found = f"{free_mb:.0f} of {total_mb:.0f} MB free at {folder}"
    measured: dict[str, float] = {"free_mb": round(free_mb), "total_mb": round(total_mb)}
    if free_mb >= wanted_mb and free_mb >= total_mb / 20:
        return Finding("disk space", OK, found, measured=measured)
    meaning = f"the outbox may grow to {wanted_mb:.0f} MB with its log; on a full disk alerts are kept in memory only"
    mend = "delete recordings and logs (journalctl --vacuum-size=100M), or set outbox.path to another disk, or outbox.max_mb lower"
    return Finding("disk space", FAIL if free_mb < wanted_mb else WARN, found, meaning, mend, measured)


def _speed(folder: Path, subject: Subject) -> Finding:
    try:
        took_ms = sorted(sync_ms(folder))
    except OSError as fault:
        meaning = "alerts cannot be stored there"
        return Finding(
            "disk sync", FAIL, f"{folder}: {fault.strerror}", meaning, f"let the service's user write to {folder}, or set outbox.path"
        )
    median, worst = took_ms[len(took_ms) // 2], took_ms[-1]
    found = f"median {median:.1f}, longest {worst:.1f} ms for 4 kB at {folder}"
    measured = {"median_ms": round(median, 2), "max_ms": round(worst, 2)}
    if kind := in_memory(folder):
        lost = "what is stored there is lost with the power and at every start of the machine; how fast a sync is says nothing"
        return Finding("disk sync", WARN, f"{folder} is {kind}, a file system in memory", lost, "set outbox.path to a disk", measured)
    state = judge(median, 50, 1000)
    if state == OK:
        return Finding("disk sync", OK, found, measured=measured)
    durability = subject.config.outbox.durability if subject.config is not None else "power"
    meaning = f'with durability = "{durability}" an alert is sent after its sync; the loop itself does not wait'
    return Finding("disk sync", state, found, meaning, 'a card or disk of a better class; or durability = "process"', measured)


def sync_ms(folder: Path) -> list[float]:
    """How long each of some small syncs took, in milliseconds.

    Raises:
        OSError: the folder cannot be written to.
    """
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(b"\0" * 4096)
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - start) * 1000)
    return took


def _existing(folder: Path) -> Path:
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
