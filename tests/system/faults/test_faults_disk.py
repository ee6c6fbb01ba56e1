"""Faults of the disk under the alerts that wait and under the state."""

import contextlib
import os
import resource
import shutil
import struct
import subprocess
import sys
import time

import pytest

from tests.broker import needs_mosquitto
from tests.system.faults.site import PIPELINE, until
from tests.system.kills import stored

pytestmark = [needs_mosquitto, pytest.mark.timeout(300)]
ROOM = 20_000  # bytes a file may have while the disk is full: the log has room, the outbox has none
FOLDER = PIPELINE.replace('"alerts.db"', '"{0}/box/alerts.db"').replace('path = "state"', 'path = "{0}/box/state"')
HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode = EXCLUSIVE")
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def helper(one, name):
    found = one.peer.json("guard/health")
    return found[-1]["helpers"].get(name, {}) if found else {}


def told(one, name):
    """States of an alert of the daemon's own."""
    return [a["state"] for a in one.peer.json("guard/alerts") if a["name"] == name]


@contextlib.contextmanager
def full_disk(one):
    """No file of the daemon can grow beyond ROOM."""
    pid = one.edge.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, limits[1]))
    try:
        yield
    finally:
        if one.edge.process.poll() is None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@pytest.mark.fault("disk", "disk full, then room again", "told; alerts are sent from memory, none lost; stored again")
def test_disk_full(site, seen):
    one = site()
    made = one.status()["decisions"]["made"]
    with full_disk(one):
        began = time.monotonic()
        until(lambda: helper(one, "outbox").get("state") == "failing", one.said)
        seen["told, s"] = time.monotonic() - began
        one.until_working()
        assert one.status()["decisions"]["made"] > made
    began = time.monotonic()
    until(lambda: helper(one, "outbox").get("state") == "ok", one.said)
    seen["stored again, s"] = time.monotonic() - began
    until(lambda: (states := told(one, "outbox.not_stored")) and states[-1] == "cleared", one.said)
    states = told(one, "outbox.not_stored")  # more than two: what had to be kept fitted into the room for a while
    assert states == ["raised", "cleared"] * (len(states) // 2)
    one.until_working()
    one.settle()
    one.judge(seen)
    assert one.status()["outbox"]["kept"].startswith("in /")


def waiting(one, box):
    """Alerts in the file of a daemon that was killed."""
    one.kill()
    return len(stored(box, one.folder / "copy"))


@pytest.mark.fault("disk", "full while the link is down, room again, daemon killed", "what was in memory is on disk by then, and arrives")
def test_disk_full_then_killed(site, seen):
    one = site(proxied=True)
    with full_disk(one):
        one.proxy.is_deaf = True
        one.until_said("alerts are kept in memory")
        time.sleep(2)
    until(lambda: (said := one.said()).rfind("alerts are stored in") > said.rfind("alerts are kept in memory"), one.said)
    seen["in the file when killed"] = waiting(one, one.folder / "alerts.db")
    assert seen["in the file when killed"] > 3
    one.proxy.cut()
    one.proxy.is_deaf = False
    one.start()
    one.until_working()
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "disk", "outbox file overwritten in places while the daemon is dead", "set aside, told as an alert, a new one begun; it starts"
)
def test_outbox_damaged(site, seen):
    one = site()
    one.sensor.is_silent = True  # so that everything has arrived, and nothing is in the file that could be lost
    until(lambda: (s := one.status()["alerts"]) and s["waiting"] + s["in_flight"] == 0)
    time.sleep(0.3)
    one.kill()
    for name in ("alerts.db", "alerts.db-wal"):
        with (one.folder / name).open("r+b") as file:
            for at in range(0, os.fstat(file.fileno()).st_size, 997):
                file.seek(at)
                file.write(b"\xa5\x5a\xa5")
    began = time.monotonic()
    one.start()
    one.sensor.is_silent = False
    one.until_working()
    seen["started and working, s"] = time.monotonic() - began
    until(lambda: told(one, "outbox.damaged") == ["raised"], one.said)
    assert list(one.folder.glob("alerts.db.damaged-*"))
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "disk", "outbox file held by another process at the start, then let go", "starts; alerts from memory; told; stored when it can be"
)
def test_outbox_held(site, seen):
    one = site()
    one.kill()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(one.folder / "alerts.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        one.start()
        one.until_working()
        until(lambda: helper(one, "outbox").get("state") == "failing", one.said)
        assert "locked" in helper(one, "outbox")["why"]
    finally:
        holder.communicate(timeout=10)
    began = time.monotonic()
    until(lambda: helper(one, "outbox").get("state") == "ok", one.said)
    seen["stored again, s"] = time.monotonic() - began
    one.until_working()
    one.settle()
    one.judge(seen)


def torn(data):
    return data[: len(data) // 2]


def flipped(data):
    at = len(data) * 2 // 3
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def of_later_version(data):
    return data[:8] + struct.pack("<I", 99) + data[12:]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        pytest.param(
            torn, "is cut off", marks=pytest.mark.fault("disk", "checkpoint cut in half", "named in the log; windows start anew; it starts")
        ),
        pytest.param(
            flipped, "is damaged", marks=pytest.mark.fault("disk", "one bit of the checkpoint", "named in the log; windows start anew")
        ),
        pytest.param(
            of_later_version,
            "has version 99",
            marks=pytest.mark.fault("disk", "checkpoint of a later version", "named in the log; windows start anew"),
        ),
    ],
)
def test_checkpoint_damaged(site, seen, damage, why):
    one = site()
    until(lambda: one.status()["checkpoint"]["written"] > 2)
    one.kill()
    state = one.folder / "state"
    state.write_bytes(damage(state.read_bytes()))
    began = time.monotonic()
    one.start()
    one.until_working()
    seen["started and working, s"] = time.monotonic() - began
    said = one.edge.log.read_text()
    assert why in said
    assert "windows start anew" in said
    assert "Traceback" not in said
    until(lambda: one.status()["checkpoint"]["written"] > 0)
    one.settle()
    one.judge(seen)


@pytest.mark.fault("disk", "the state's folder cannot be made", "health says failing and why; frames are decided; written once it can be")
def test_checkpoint_not_writable(site, tmp_path, seen):
    taken = tmp_path / "taken"
    taken.write_text("a file where a folder should be")
    one = site(text=PIPELINE.replace('path = "state"', f'path = "{taken}/state"'))
    until(lambda: helper(one, "checkpoint").get("state") == "failing", one.said)
    seen["why"] = helper(one, "checkpoint")["why"]
    assert one.status()["checkpoint"]["written"] == 0
    taken.unlink()
    until(lambda: helper(one, "checkpoint").get("state") == "ok", one.said)
    until(lambda: one.status()["checkpoint"]["written"] > 2)
    one.until_working()
    seen["failed"] = one.status()["checkpoint"]["failed"]
    one.settle()
    one.judge(seen)
    assert (taken / "state").exists()


@pytest.mark.fault("disk", "state folder deleted in mid-run, link down, daemon killed", "made again with all that waits; nothing is lost")
def test_state_folder_vanishes(site, tmp_path, seen):
    one = site(proxied=True, text=FOLDER.replace("{0}", str(tmp_path)))
    one.proxy.is_deaf = True
    time.sleep(1)
    shutil.rmtree(tmp_path / "box")
    began = time.monotonic()
    one.until_said("alerts are stored in")
    seen["made again, s"] = time.monotonic() - began
    until((tmp_path / "box" / "state").exists, one.said)
    seen["in the file when killed"] = waiting(one, tmp_path / "box" / "alerts.db")
    assert seen["in the file when killed"] > 3
    one.proxy.cut()
    one.proxy.is_deaf = False
    one.start()
    one.until_working()
    one.settle()
    one.judge(seen)


@pytest.mark.fault("disk", "no folder for recordings", "recording says paused and why; the loop goes on; recorded once there is one")
def test_recordings_not_writable(site, tmp_path, seen):
    taken = tmp_path / "tapes"
    taken.write_text("a file where a folder should be")
    one = site(text=PIPELINE + f'\n[recording]\npath = "{taken}"\nfree_mb = 0\n')
    until(lambda: helper(one, "recording").get("state") == "paused", one.said)
    assert "File exists" in helper(one, "recording")["why"]
    taken.unlink()
    began = time.monotonic()
    until(lambda: helper(one, "recording").get("state") == "recording", one.said)
    seen["recording, s"] = time.monotonic() - began
    one.until_working()
    one.settle()
    one.judge(seen)
    assert list(taken.glob("*.mcap"))
