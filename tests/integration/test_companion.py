"""The recording companion beside a running daemon: killed, stopped, left alone by a daemon that is killed; replayed afterwards."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.store.reading import read
from tests.broker import needs_mosquitto
from tests.integration.test_daemon import PIPELINE, Edge, Peer, readings, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]


@pytest.fixture
def peer(broker):
    peer = Peer(broker.port)
    yield peer
    peer.close()


@pytest.fixture
def edge(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker, PIPELINE + '\n[recording]\npath = "recordings"\nfree_mb = 0\n')
    until(lambda: recording(peer).get("state") == "recording", edge.log.read_text)
    yield edge
    edge.close()


def recording(peer):
    return (peer.status() or {}).get("recording", {})


def send(peer, values, first=0):
    for text in readings(values, first=first):
        peer.client.publish("plant/a/temp", text)


def files(edge):
    return sorted(path for path in (edge.file.parent / "recordings").iterdir() if ".mcap" in path.name)


def recorded(edge, topic):
    return [json.loads(raw.payload) for path in files(edge) for raw in read(path) if raw.topic == topic]


def is_running(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_what_came_in_and_what_went_out_is_in_a_file_that_replays_to_the_same_alerts(peer, edge, tmp_path):
    send(peer, [20] * 4 + [90] * 4 + [20] * 4)
    until(lambda: len(peer.json("/alerts")) == 2)
    assert edge.stop() == 0
    (file,) = files(edge)
    assert file.suffix == ".mcap", "closed, and under its final name"
    assert [one["seq"] for one in recorded(edge, "plant/a/temp")] == list(range(12))
    assert [one["state"] for one in recorded(edge, "plant/a/alerts")] == ["raised", "cleared"]
    assert recorded(edge, "plant/a/cmd/fan")
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "edge", "replay", str(file), str(edge.file), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert '"hot"' in out.read_text()


def test_a_killed_companion_is_replaced_and_nothing_is_lost(peer, edge):
    send(peer, [20] * 50)
    until(lambda: recording(peer)["noted"] >= 50)
    first = recording(peer)["pid"]
    os.kill(first, signal.SIGKILL)
    send(peer, [20] * 50, first=50)
    until(lambda: recording(peer)["pid"] not in (0, first) and recording(peer)["state"] == "recording", edge.log.read_text, 60)
    send(peer, [20] * 50, first=100)
    until(lambda: peer.status()["streams"]["temp"]["received"] == 150)
    status = recording(peer)
    assert (status["restarts"], status["dropped"]) == (1, 0)
    assert edge.stop() == 0
    assert [one["seq"] for one in recorded(edge, "plant/a/temp")] == list(range(150))


def test_a_stopped_companion_is_told_of_and_costs_no_frame(peer, edge):
    os.kill(recording(peer)["pid"], signal.SIGSTOP)
    try:
        until(lambda: recording(peer)["state"] == "silent", timeout_s=60)
        health = until(
            lambda: (found := peer.json("guard/health")) and found[-1]["helpers"]["recording"]["state"] == "silent" and found[-1]
        )
        assert health["state"] == "degraded"
        send(peer, [20] * 200)
        until(lambda: peer.status()["streams"]["temp"]["used"] == 200)
    finally:
        os.kill(recording(peer)["pid"], signal.SIGCONT)
    until(lambda: recording(peer)["state"] == "recording")
    assert edge.stop() == 0
    assert len(recorded(edge, "plant/a/temp")) == 200


def test_a_companion_whose_daemon_is_killed_writes_what_it_has_and_closes_its_file(peer, edge):
    send(peer, [20] * 30)
    until(lambda: recording(peer)["noted"] >= 30)
    pid = recording(peer)["pid"]
    edge.process.send_signal(signal.SIGKILL)
    edge.process.wait(10)
    until(lambda: [file.suffix for file in files(edge)] == [".mcap"], timeout_s=60)
    until(lambda: not is_running(pid), timeout_s=60)
    assert len(recorded(edge, "plant/a/temp")) == 30


def test_a_folder_that_cannot_be_written_pauses_the_recording_and_nothing_else(tmp_path, broker, peer):
    (tmp_path / "taken").write_text("a file where a folder should be")
    edge = Edge(tmp_path, broker, PIPELINE + '\n[recording]\npath = "taken"\n')
    try:
        until(lambda: recording(peer).get("state") == "paused", edge.log.read_text)
        assert "File exists" in recording(peer)["why"]
        send(peer, [20] * 20)
        until(lambda: peer.status()["streams"]["temp"]["used"] == 20)
        (tmp_path / "taken").unlink()
        until(lambda: recording(peer)["state"] == "recording", timeout_s=60)
        assert edge.stop() == 0
        assert "nothing is recorded: " in edge.log.read_text()
        assert len([raw for path in (tmp_path / "taken").glob("*.mcap") for raw in read(path) if raw.topic == "plant/a/temp"]) == 20
    finally:
        edge.close()


def test_without_shared_memory_the_daemon_runs_and_says_that_nothing_is_recorded(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker, PIPELINE + '\n[recording]\npath = "recordings"\n', wait=False)
    try:
        limits = resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (4_000_000, limits[1]))  # less than the ring; long before it is made
        until(lambda: recording(peer).get("state") == "given up" or edge.process.poll() is not None, edge.log.read_text, 60)
        assert edge.process.poll() is None, edge.log.read_text()
        assert "shared memory cannot be had: File too large" in recording(peer)["why"]
        assert peer.json("/health")[-1]["helpers"]["recording"]["state"] == "given up"
        send(peer, [20] * 4 + [90] * 4)
        until(lambda: len(peer.json("/alerts")) == 1, edge.log.read_text)
        edge.process.send_signal(signal.SIGHUP)
        until(lambda: "reloaded: " in edge.log.read_text(), edge.log.read_text, 60)
        assert edge.stop() == 0
        log = edge.log.read_text()
        assert log.count("File too large") == 1
        assert "Traceback" not in log
    finally:
        edge.close()
