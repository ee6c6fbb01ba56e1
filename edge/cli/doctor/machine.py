"""Checks of the machine: its clock, its frequency governor, the rights of this user, and how late it wakes a process."""

import ctypes
import gc
import multiprocessing
import os
import resource
import struct
import sys
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path

from edge.cli.doctor.finding import FAIL, OK, WARN, Finding, Subject, judge

_GOVERNORS = "devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
_TIMEX_BYTES, _STATUS_AT, _STA_UNSYNC = 208, 40, 0x40  # struct timex of linux/timex.h on 64 bits
PERIOD_NS = 1_000_000


def check_clock(subject: Subject) -> list[Finding]:
    """Whether somebody keeps the clock right."""
    config = subject.config
    needing = [name for name, stream in config.streams.items() if stream.clock == "synced"] if config is not None else []
    is_synced, found = clock_state()
    if is_synced:
        return [Finding("clock", OK, found)]
    meaning = "stamps in alerts and commands are wrong by an unknown time"
    if needing:
        meaning += f'; {", ".join(needing)} says clock = "synced": its frames are refused as stale or from the future'
    mend = "install chrony or enable systemd-timesyncd, and let a time server be reached; offline: a GPS or RTC source for chrony"
    return [Finding("clock", FAIL if needing else WARN, found, meaning, mend)]


def clock_state() -> tuple[bool, str]:
    """What the kernel says of its clock."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return False, "this system does not say whether its clock is synchronised"
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        return False, f"the kernel does not say: {os.strerror(ctypes.get_errno())}"
    status = struct.unpack_from("i", buffer.raw, _STATUS_AT)[0]
    if status & _STA_UNSYNC:
        return False, "not synchronised"
    return True, "synchronised"


def check_governor(subject: Subject, sys_folder: Path = Path("/sys")) -> list[Finding]:
    """Whether cores run at full speed when a frame comes after a pause."""
    del subject
    found = {path.read_text().strip() for path in sys_folder.glob(_GOVERNORS)}
    if not found:
        return [Finding("cpu governor", OK, "Linux does not set the frequency here (a virtual machine, or firmware does)")]
    slow = sorted(found - {"performance"})
    if not slow:
        return [Finding("cpu governor", OK, "performance")]
    meaning = "after a pause the first frames are computed at the lowest frequency: two to four times as slow"
    mend = "cpupower frequency-set -g performance (as root, at every boot)"
    return [Finding("cpu governor", WARN, ", ".join(slow), meaning, mend)]


def check_real_time(subject: Subject) -> list[Finding]:
    """Whether this user may have a real-time priority."""
    wanted = subject.config.process.priority if subject.config is not None else None
    priority = wanted or 10
    error = _in_child(priority)
    if not error:
        return [Finding("real-time priority", OK, f"SCHED_FIFO {priority} is permitted")]
    meaning = "any other process may delay a frame for a time slice, which is milliseconds"
    mend = f"in the unit: LimitRTPRIO={priority} and no RestrictRealtime; by hand: a line `USER - rtprio {priority}` in limits.conf"
    return [Finding("real-time priority", FAIL if wanted else WARN, f"SCHED_FIFO {priority}: {error}", meaning, mend)]


def _in_child(priority: int) -> str:
    """What the system says to a process that asks for a priority; "" when it grants it."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_ask, args=(priority, sender), daemon=True)
    child.start()
    try:
        return str(receiver.recv()) if receiver.poll(20) else "no answer"
    except EOFError:
        return "no answer"
    finally:
        child.kill()
        child.join()


def _ask(priority: int, sender: "Connection") -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, ValueError, AttributeError) as fault:
        sender.send(str(getattr(fault, "strerror", None) or fault))
    else:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        sender.send("")


def check_memory_lock(subject: Subject) -> list[Finding]:
    """Whether memory may be locked."""
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if soft == resource.RLIM_INFINITY or os.geteuid() == 0:
        return [Finding("locked memory", OK, "without limit")]
    is_wanted = subject.config is not None and subject.config.process.lock_memory
    meaning = "under memory pressure code and windows are paged out, and a frame waits for the disk"
    mend = "in the unit: LimitMEMLOCK=infinity; by hand: a line `USER - memlock unlimited` in limits.conf"
    return [Finding("locked memory", FAIL if is_wanted else WARN, f"at most {soft >> 10} kB", meaning, mend)]


def check_jitter(subject: Subject) -> list[Finding]:
    """How late a process that sleeps a millisecond at a time is woken."""
    late_us = sorted(lateness_us(subject.seconds))
    p50, p99, worst = (late_us[min(int(len(late_us) * share), len(late_us) - 1)] for share in (0.5, 0.99, 1.0))
    budget_us = subject.budget_ms * 1000
    state = max((judge(p99, budget_us / 10, budget_us), judge(worst, budget_us / 2, budget_us * 4)), key=("OK", "WARN", "FAIL").index)
    found = f"p50 {p50:.0f}, p99 {p99:.0f}, longest {worst:.0f} us in {len(late_us)} wakes; the budget is {budget_us:.0f} us"
    measured = {"p50_us": round(p50, 1), "p99_us": round(p99, 1), "max_us": round(worst, 1)}
    if state == OK:
        return [Finding("kernel jitter", OK, found, measured=measured)]
    meaning = "so much of the budget is gone before the first line of ours runs"
    mend = "[process] priority, cpu and lock_memory; other load to other cores; a PREEMPT_RT kernel; on a virtual machine: dedicated cores"
    return [Finding("kernel jitter", state, found, meaning, mend, measured)]


def lateness_us(seconds: float) -> Iterable[float]:
    """By how much each of many sleeps was too long, in microseconds."""
    late = []
    gc.disable()
    try:
        due_ns = time.monotonic_ns() + PERIOD_NS
        end_ns = due_ns + int(seconds * 1e9)
        while due_ns < end_ns:
            time.sleep(max(due_ns - time.monotonic_ns(), 0) * 1e-9)
            late.append(max(time.monotonic_ns() - due_ns, 0) / 1000)
            due_ns = max(due_ns + PERIOD_NS, time.monotonic_ns() // PERIOD_NS * PERIOD_NS)
    finally:
        gc.enable()
    return late
