"""Priority, cores and locked memory: taken where permitted, said where not, never fatal. Nothing of the test's own process is changed."""

import ctypes
import logging
import os
import resource
import sys
import threading

import pytest

from edge.daemon import realtime
from edge.daemon.realtime import Place, take

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is taken here, only Linux has")


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


class Kernel:
    """What is asked of the system, and its answer."""

    def __init__(self, monkeypatch, *, refuses=False, locked=resource.RLIM_INFINITY, uid=1000):
        self.asked, self._refuses = [], refuses
        monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: self._ask("cpu", pid, tuple(cpus)))
        monkeypatch.setattr(os, "sched_setscheduler", lambda pid, policy, param: self._ask("fifo", pid, policy, param.sched_priority))
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(resource, "getrlimit", lambda _which: (locked, locked))
        monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: self)
        monkeypatch.setattr(ctypes, "get_errno", lambda: 1)

    def _ask(self, *what):
        self.asked.append(what)
        if self._refuses:
            raise PermissionError(1, "Operation not permitted")

    def mlockall(self, flags):
        self.asked.append(("lock", flags))
        return -1 if self._refuses else 0


def test_by_default_nothing_is_asked_for(monkeypatch, told):
    kernel = Kernel(monkeypatch)
    take(Place())
    assert kernel.asked == told() == []


def test_each_wish_is_one_line(monkeypatch, told):
    kernel = Kernel(monkeypatch)
    place = Place(50, (1, 3), True)
    take(place)
    assert kernel.asked == [("cpu", 0, (1, 3)), ("lock", 7), ("fifo", 0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, 50)]
    assert told() == [
        ("INFO", "this process runs on CPU 1, 3"),
        ("INFO", "this process keeps its memory locked"),
        ("INFO", "this process runs at real-time priority 50 (SCHED_FIFO)"),
    ]
    take(place, before=place)
    assert len(kernel.asked) == 3, "asked for already"


def test_what_is_refused_is_a_line_that_says_what_would_help(monkeypatch, told):
    Kernel(monkeypatch, refuses=True)
    take(Place(50, (1,), True))
    assert told() == [
        ("WARNING", "process.cpu is not in force: Operation not permitted"),
        (
            "WARNING",
            "process.lock_memory is not in force: Operation not permitted; set LimitMEMLOCK=infinity in the unit, or give CAP_IPC_LOCK",
        ),
        ("WARNING", "process.priority is not in force: not permitted; set LimitRTPRIO=50 in the unit, or give CAP_SYS_NICE"),
    ]


def test_memory_is_not_locked_under_a_limit_that_could_bite_later(monkeypatch, told):
    kernel = Kernel(monkeypatch, locked=8 << 20)
    take(Place(lock_memory=True))
    assert kernel.asked == []
    assert told() == [
        ("WARNING", "process.lock_memory is not in force: at most 8192 kB may be locked; set LimitMEMLOCK=infinity in the unit")
    ]
    Kernel(monkeypatch, locked=8 << 20, uid=0)
    take(Place(lock_memory=True))
    assert told()[-1] == ("INFO", "this process keeps its memory locked")


def test_another_system_does_without(monkeypatch, told):
    monkeypatch.setattr(realtime.sys, "platform", "darwin")
    take(Place(1))
    assert told() == [("WARNING", "process.priority is not in force: only Linux has it")]


def test_a_thread_is_really_pinned(told):
    cpu, seen = min(os.sched_getaffinity(0)), []

    def run():
        take(Place(cpus=(cpu,)))
        seen.append(os.sched_getaffinity(0))
        take(Place(cpus=(4095,)))

    thread = threading.Thread(target=run)  # a thread's affinity is its own
    thread.start()
    thread.join()
    assert seen == [{cpu}]
    assert [level for level, _ in told()] == ["INFO", "WARNING"]


def test_helpers_do_not_stay_on_the_core_that_the_loop_took(monkeypatch):
    from edge import threads

    places = {}
    monkeypatch.setattr(threads, "_everywhere", set())
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, cpus: places.__setitem__(threading.current_thread().name, set(cpus)))
    threads.pin((3,))
    one = threads.helper("edge-helper", lambda: None)
    one.start()
    one.join()
    assert places == {threading.current_thread().name: {3}, "edge-helper": {0, 1, 2, 3}}
