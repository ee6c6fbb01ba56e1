"""Kill -9 and a new start of the real daemon: windows go on, and a rule says nothing that it has said before."""

import json
import signal
import sqlite3
import time

import pytest

from tests.broker import needs_mosquitto
from tests.integration.test_daemon import Edge, Peer, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]

TEXT = """
name = "guard"
budget_ms = 1000

[streams.s]
topic = "d/{device}/s"
format = "json"
channels = { x = "1" }
rate_hz = 10

[[features]]
stream = "s"
channels = ["x"]
window = 8
stats = ["mean"]

[[rules]]
name = "hot"
score = "s.x.mean.8"
enter = 0.5
exit = 0.5
emit = "alert"
topic = "d/{device}/alerts"

[outbox]
path = "box"

[checkpoint]
path = "state"
every_s = 0.1

[publish.status]
every_s = 0.1
"""


@pytest.fixture
def peer(broker):
    peer = Peer(broker.port)
    yield peer
    peer.close()


def send(peer, first, values):
    for seq, x in enumerate(values, first):
        peer.client.publish("d/a/s", json.dumps({"seq": seq, "t": (seq + 1) * 100_000_000, "x": x}), qos=1)


def said(peer):
    return [(alert["name"], alert["state"]) for alert in peer.json("/alerts")]


def used(peer, boot):
    reports = [s for s in peer.json("/status") if s["boot_id"] != boot]
    return reports[-1]["streams"]["s"]["used"] if reports else 0


def test_windows_go_on_after_kill_9_and_nothing_is_said_twice(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker, TEXT)
    try:
        until(lambda: peer.status() and peer.status()["state"] == "running")
        send(peer, 0, [1.0] * 8)
        until(lambda: said(peer) == [("hot", "raised")])
        written = peer.status()["checkpoint"]["written"]
        until(lambda: peer.status()["checkpoint"]["written"] >= written + 2)
        edge.process.send_signal(signal.SIGKILL)
        edge.process.wait(10)
        boot = peer.status()["boot_id"]
        edge.close()
        edge = Edge(tmp_path, broker, TEXT)
        until(lambda: any(s["boot_id"] != boot and s["state"] == "running" for s in peer.json("/status")))
        assert "1 devices go on" in edge.log.read_text()
        send(peer, 8, [1.0])
        until(lambda: used(peer, boot) == 1)
        assert peer.status()["decisions"]["made"] == 1, "the window was full already"
        time.sleep(0.3)
        assert said(peer) == [("hot", "raised")]
        send(peer, 9, [0.0] * 5)
        until(lambda: said(peer) == [("hot", "raised"), ("hot", "cleared")])
        assert edge.stop() == 0
    finally:
        edge.close()


def test_without_a_checkpoint_what_was_said_is_known_all_the_same(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker, TEXT)
    try:
        until(lambda: peer.status() and peer.status()["state"] == "running")
        send(peer, 0, [1.0] * 8)
        until(lambda: said(peer) == [("hot", "raised")])
        until(lambda: (alerts := peer.status()["alerts"])["delivered"] == 1 and alerts["unstored"] == 0)  # or it arrives twice, as it may
        boot = peer.status()["boot_id"]
        edge.process.send_signal(signal.SIGKILL)
        edge.process.wait(10)
        edge.close()
        (tmp_path / "state").write_bytes(b"damaged")
        edge = Edge(tmp_path, broker, TEXT)
        until(lambda: any(s["boot_id"] != boot and s["state"] == "running" for s in peer.json("/status")))
        assert "is no checkpoint" in edge.log.read_text()
        send(peer, 8, [1.0] * 8)
        until(lambda: used(peer, boot) == 8)
        time.sleep(0.3)
        assert said(peer) == [("hot", "raised")]
    finally:
        edge.close()


def test_a_reload_repeats_nothing_and_takes_back_what_is_over(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker, TEXT)
    try:
        until(lambda: peer.status() and peer.status()["state"] == "running")
        send(peer, 0, [1.0] * 8)
        until(lambda: said(peer) == [("hot", "raised")])
        boot = peer.status()["boot_id"]
        edge.process.send_signal(signal.SIGHUP)
        until(lambda: any(s["boot_id"] != boot and s["state"] == "running" for s in peer.json("/status")))
        send(peer, 8, [1.0] * 8)
        until(lambda: used(peer, boot) == 8)
        time.sleep(0.3)
        assert said(peer) == [("hot", "raised")]
        send(peer, 16, [0.0] * 8)
        until(lambda: said(peer) == [("hot", "raised"), ("hot", "cleared")])
        assert edge.stop() == 0
    finally:
        edge.close()


def test_a_file_that_opens_late_still_tells_rules_what_they_said(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker, TEXT)
    try:
        until(lambda: peer.status() and peer.status()["state"] == "running")
        send(peer, 0, [1.0] * 8)
        until(lambda: said(peer) == [("hot", "raised")])
        boot = peer.status()["boot_id"]
        edge.process.send_signal(signal.SIGKILL)
        edge.process.wait(10)
        edge.close()
        (tmp_path / "state").unlink()
        holder = sqlite3.connect(tmp_path / "box", isolation_level=None)
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        edge = Edge(tmp_path, broker, TEXT)
        until(lambda: any(s["boot_id"] != boot and s["state"] == "running" for s in peer.json("/status")))
        send(peer, 8, [0.0] * 8)
        until(lambda: used(peer, boot) == 8)
        assert ("hot", "cleared") not in said(peer)
        holder.execute("COMMIT")
        holder.close()
        until(lambda: ("outbox.not_stored", "cleared") in said(peer))
        send(peer, 16, [0.0])
        until(lambda: [one for one in said(peer) if one[0] == "hot"] == [("hot", "raised"), ("hot", "cleared")])
    finally:
        edge.close()
