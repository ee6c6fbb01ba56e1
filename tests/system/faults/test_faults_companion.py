"""Faults of the companion process that records what the daemon hears and says."""

import json
import os
import signal
import time

import pytest

from edge.store.reading import read
from tests.broker import needs_mosquitto
from tests.system.faults.site import PIPELINE, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(300)]
RECORDING = PIPELINE + '\n[recording]\npath = "{folder}/recordings"\nfree_mb = 0\n'


def companion(one):
    return (one.status() or {}).get("recording", {})


@pytest.fixture
def recorded(site, tmp_path):
    """A site whose daemon records, and its recorded rows."""
    one = site(text=RECORDING.replace("{folder}", str(tmp_path)))
    until(lambda: companion(one).get("state") == "recording", one.said)

    def rows():
        files = (path for path in sorted((tmp_path / "recordings").iterdir()) if ".mcap" in path.name)
        return [json.loads(raw.payload)["seq"] for path in files for raw in read(path) if raw.topic == "d/a/s"]

    return one, rows


def whole(one, rows, seen):
    """All that came in is in the files."""
    received, dropped = one.status()["streams"]["s"]["received"], companion(one)["dropped"]
    found = rows()
    seen["rows received"], seen["not recorded"] = received, received - len(set(found))
    assert dropped == 0
    assert len(set(found)) >= received


@pytest.mark.fault("process", "recording companion killed", "replaced; the loop does not notice; no row is missing in the files")
def test_companion_killed(recorded, seen):
    one, rows = recorded
    first = companion(one)["pid"]
    os.kill(first, signal.SIGKILL)
    began = time.monotonic()
    until(lambda: companion(one)["pid"] not in (0, first) and companion(one)["state"] == "recording", one.said)
    seen["replaced, s"] = time.monotonic() - began
    one.until_working()
    one.settle()
    one.judge(seen)
    assert companion(one)["restarts"] == 1
    whole(one, rows, seen)


@pytest.mark.fault("process", "recording companion stopped (SIGSTOP) for 5 s", "health says silent; no frame is lost, by loop or file")
def test_companion_stopped(recorded, seen):
    one, rows = recorded
    os.kill(companion(one)["pid"], signal.SIGSTOP)
    began = time.monotonic()
    try:
        until(lambda: one.peer.json("guard/health")[-1]["helpers"]["recording"]["state"] == "silent")
        seen["told, s"] = time.monotonic() - began
        time.sleep(max(0.0, began + 5 - time.monotonic()))
        one.until_working()
    finally:
        os.kill(companion(one)["pid"], signal.SIGCONT)
    until(lambda: companion(one)["state"] == "recording", one.said)
    one.settle()
    one.judge(seen)
    assert one.status()["streams"]["s"]["lost_frames"] == 0
    whole(one, rows, seen)
