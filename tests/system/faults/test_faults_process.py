"""Faults of the daemon's own process, and of what the machine gives it."""

import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker import needs_mosquitto
from tests.system.faults.site import RATE_HZ, SAFE, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(300)]


def unrepeated(one):
    """Every alert once, in the order of arrival: what the rule said."""
    states = list({a["id"]: a["state"] for a in one.alerts() if a["name"] == "hot"}.values())
    assert all(a != b for a, b in itertools.pairwise(states)), f"said twice: {states}"


def pings(edge):
    edge.noted("")
    return sum("WATCHDOG=1" in note for _, note in edge.notes)


def killed(one):
    """SIGKILL, a new daemon, and how long until it worked."""
    one.kill()
    began = time.monotonic()
    one.start()
    one.until_working()
    return time.monotonic() - began


@pytest.mark.fault("process", "daemon killed (SIGKILL), started again", "windows go on, the gap is counted, no rule repeats itself")
def test_killed(site, seen):
    one = site()
    until(lambda: one.status()["checkpoint"]["written"] > 2)
    seen["started and working, s"] = killed(one)
    assert "1 devices go on" in one.edge.log.read_text()
    stream = one.status()["streams"]["s"]
    assert stream["lost_frames"] > 0, "what was sent while nobody listened"
    seen["frames of the gap"] = stream["lost_frames"]
    one.settle()
    one.judge(seen)
    unrepeated(one)


@pytest.mark.fault("process", "daemon killed five times at random moments", "every accepted alert arrives; nothing is said twice")
def test_killed_again_and_again(site, seen):
    one = site()
    rng = random.Random(5)
    for _ in range(4):
        one.kill()
        one.start(wait=rng.random() < 0.5)
        time.sleep(rng.uniform(0.1, 1.5))
    seen["working after the fifth, s"] = killed(one)
    one.settle()
    one.judge(seen)
    unrepeated(one)


@pytest.mark.fault("process", "daemon stopped (SIGSTOP) for 2 s", "the watchdog is not fed; nothing old is sent when it goes on")
def test_stopped(site, seen):
    one = site()
    one.edge.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    before, commands = pings(one.edge), len(one.commands())
    time.sleep(1.8)
    assert pings(one.edge) == before
    assert len(one.commands()) == commands
    one.edge.process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    one.until_working()
    seen["recovered, s"] = time.monotonic() - began
    assert pings(one.edge) > before
    seen["late commands withheld"] = sum(one.status()["commands"]["withheld"].values())
    one.settle()
    one.judge(seen)


@contextlib.contextmanager
def busy(n):
    """Processes that do nothing but take a processor each."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait(10)


@pytest.mark.fault(
    "process", "processor starved: two endless loops on each core for 5 s", "what misses its budget is withheld, not sent late"
)
def test_starved(site, seen):
    one = site()
    with busy(2 * (os.cpu_count() or 1)):
        time.sleep(5)
    began = time.monotonic()
    one.until_working()
    seen["recovered, s"] = time.monotonic() - began
    status = one.status()
    seen["decisions"], seen["missed"] = status["decisions"]["made"], status["budget"]["missed"]
    seen["withheld"] = sum(status["commands"]["withheld"].values())
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "process", "reload (SIGHUP) of a file that is not valid", "refused with the place in the file; the old one runs on untouched"
)
def test_reload_refused(site, seen):
    one = site()
    boot = one.status()["boot_id"]
    file, good = one.edge.file, one.edge.file.read_text()
    for bad in (
        good.replace("enter = 0.5", "entre = 0.5"),
        good.replace("ttl_ms = 400", "ttl_ms = 0"),
        good[: len(good) // 2] + "[[",
        "\0",
    ):
        refusals = one.said().count("reload refused")
        file.write_text(bad)
        one.edge.process.send_signal(signal.SIGHUP)
        until(lambda n=refusals: one.said().count("reload refused") > n, one.said)
    file.write_text(good)
    seen["refused"] = one.said().count("reload refused")
    one.until_working()
    assert one.status()["boot_id"] == boot
    assert one.status()["streams"]["s"]["lost_frames"] == 0
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "process",
    "reload (SIGHUP) of a valid file in mid-stream, three times",
    "no frame and no alert lost; commands go on under a new boot id",
)
def test_reloaded(site, seen):
    one = site()
    took, sent = [], one.status()["streams"]["s"]["received"]
    assert sent
    for i in range(3):
        boot = one.boot()
        one.edge.file.write_text(one.edge.file.read_text().replace("silent_ms = 1000", f"silent_ms = {1001 + i}"))
        began = time.monotonic()
        one.edge.process.send_signal(signal.SIGHUP)
        until(lambda boot=boot: one.boot() != boot, one.said)
        one.until_working(1)
        took.append(time.monotonic() - began)
    seen["reloaded and working, s, worst"] = max(took)
    one.settle()
    one.judge(seen)
    assert len({message["boot_id"] for _, message in one.commands()}) == 4


@pytest.mark.fault(
    "process", "SIGTERM under load, 500 rows a second", "safe value last, `stopped`, exit code 0; the next run delivers the rest"
)
def test_ended_under_load(site, seen):
    one = site()
    one.sensor.period_s = 0.4 / RATE_HZ
    one.until_working(5)
    began = time.monotonic()
    assert one.edge.stop(timeout_s=20) == 0
    seen["ended, s"] = time.monotonic() - began
    one.sensor.period_s = 1 / RATE_HZ
    until(lambda: [m.payload for _, m in one.peer.all("/availability")][-1:] == [b"stopped"])
    until(lambda: one.commands()[-1][1]["value"] == SAFE, lambda: str(one.commands()[-1]))
    assert one.commands()[-1][1]["cause"]["rule"] == "envelope.release"
    one.start()
    one.until_working()
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "process", "daemon killed at each of five starts, then `edge run --safe`", "link up, `safe mode`, stored alerts delivered, no command"
)
def test_crash_loop(site, seen):
    one = site(proxied=True)
    one.proxy.is_deaf = True  # so that there are alerts that nobody acknowledged
    time.sleep(2)
    one.kill()
    for _ in range(4):
        one.start(wait=False)
        time.sleep(0.3)
        one.kill()
    one.proxy.cut()
    one.proxy.is_deaf = False
    time.sleep(0.5)  # what was held is gone, or has arrived
    commands, before = len(one.commands()), len(one.alerts())
    began = time.monotonic()
    one.start(options=("--safe",))
    until(lambda: one.status()["state"] == "safe mode", one.said)
    seen["safe mode, s"] = time.monotonic() - began
    until(lambda: len(one.alerts()) > before, one.said)
    seen["stored alerts delivered"] = len(one.alerts()) - before
    time.sleep(0.5)
    assert len(one.commands()) == commands
    assert one.edge.process.poll() is None
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "process", "no file descriptor left, and the connection lost", "lives on, says why, and is back when there are descriptors"
)
def test_no_descriptors(site, seen):
    one = site(proxied=True)
    pid = one.edge.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    one.proxy.cut()
    until(lambda: one.edge.noted("Too many open files"), lambda: f"{one.edge.notes[-3:]} {one.said()[-1000:]}")
    time.sleep(1)
    assert one.edge.process.poll() is None
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    seen["recovered, s"] = one.until_working()
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "process", "no memory left: address space frozen while payloads of 8 MB come", "the daemon lives on; good rows are decided"
)
def test_no_memory(site, seen):
    one = site()
    pid = one.edge.process.pid
    before = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (before + (1 << 20), resource.RLIM_INFINITY))
    for _ in range(5):
        one.peer.client.publish("d/a/s", b"z" * (8 << 20))
    one.until_working(10)
    assert one.edge.process.poll() is None
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    seen["refused"] = one.status()["streams"]["s"]["invalid"].get("too_large", 0)
    one.settle()
    one.judge(seen)
    assert seen["refused"] == 5


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A copy of the kernel caches as NUMBA_CACHE_DIR: folders by package."""
    from numba.core.caching import UserProvidedCacheLocator as Locator

    import firmware_bridge.kernels
    from edge.kernels import jit

    copies = {}
    for module in (jit, firmware_bridge.kernels):
        home = Path(module.__file__).parent
        copies[home.name] = target = tmp_path / "cache" / Locator.get_suitable_cache_subpath(module.__file__)
        target.mkdir(parents=True)
        for file in (home / "__pycache__").glob("*.nb[ic]"):
            shutil.copy(file, target)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return copies


def index(folder, name):
    found = sorted(folder.glob(f"*.{name}-*.nbi"))
    assert found, f"{name} in {folder}"
    return found


@pytest.mark.fault(
    "process", "compiled kernels on disk: indexes cut in half, one that can be neither read nor written", "compiled again; it starts"
)
def test_kernel_cache_damaged(site, cache, seen):
    for file in index(cache["kernels"], "reset_stream") + index(cache["firmware_bridge"], "first_zero"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for file in index(cache["kernels"], "score"):
        file.unlink()
        file.mkdir()
    began = time.monotonic()
    one = site()
    seen["started and working, s"] = time.monotonic() - began
    assert "is damaged" in one.said()
    one.settle()
    one.judge(seen)
