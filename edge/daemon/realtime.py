"""The place of the hot thread on this machine: its priority, its cores, its memory.

Best effort: what is not permitted is said in the log and done without.
"""

import ctypes
import logging
import os
import resource
import sys
from collections.abc import Callable

import msgspec

from edge import threads

_log = logging.getLogger(__name__)

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # asm-generic/mman.h


class Place(msgspec.Struct, frozen=True):
    """What is asked for.

    Args:
        priority: of SCHED_FIFO, 1 to 99; None: as the system schedules everybody.
        cpus: cores to run on; empty: any.
        lock_memory: what was touched once is never paged out.
    """

    priority: int | None = None
    cpus: tuple[int, ...] = ()
    lock_memory: bool = False


def take(place: Place, before: Place | None = None) -> None:
    """Take a place with the calling thread, as far as it is permitted; one log line for each wish. Call once all is warm.

    Args:
        place: wanted. What it does not ask for is left as it is.
        before: asked for already.
    """
    if place == before:
        return
    if place.cpus:
        _try(f"runs on CPU {', '.join(map(str, place.cpus))}", "cpu", lambda: _pin(place.cpus))
    if place.lock_memory:
        _try("keeps its memory locked", "lock_memory", _lock)
    if place.priority is not None:  # last: from here on nothing else gets a word in
        priority = place.priority
        _try(f"runs at real-time priority {priority} (SCHED_FIFO)", "priority", lambda: _raise(priority))


def _try(claim: str, key: str, action: Callable[[], None]) -> None:
    try:
        if sys.platform != "linux":
            raise OSError("only Linux has it")
        action()
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
        _log.warning("process.%s is not in force: %s", key, reason)
    else:
        _log.info("this process %s", claim)


def _pin(cpus: tuple[int, ...]) -> None:
    threads.pin(cpus)


def _raise(priority: int) -> None:
    try:
        # Helper threads and children begin as everybody else: a model that is loaded at this priority would stop the machine.
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except PermissionError as fault:
        raise OSError(f"not permitted; set LimitRTPRIO={priority} in the unit, or give CAP_SYS_NICE") from fault


def _lock() -> None:
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and os.geteuid():
        # It might succeed and then make a later allocation fail.
        raise OSError(f"at most {soft >> 10} kB may be locked; set LimitMEMLOCK=infinity in the unit")
    libc = ctypes.CDLL(None, use_errno=True)
    # On fault: what warm-up touched stays. All that is mapped would be hundreds of megabytes that nobody needs.
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        raise OSError(f"{os.strerror(ctypes.get_errno())}; set LimitMEMLOCK=infinity in the unit, or give CAP_IPC_LOCK")
