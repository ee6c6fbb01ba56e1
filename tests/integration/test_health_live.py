"""What a running daemon says of itself: silent sources, links that die in every way, helpers that hang, and whether it is fed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.broker import needs_mosquitto
from tests.integration.test_daemon import Edge, Peer, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]

PIPELINE = """
name = "watched"
budget_ms = 150
tick_ms = 10

[broker]
keepalive_s = 5
retry_min_s = 0.1
retry_max_s = 0.2
connect_timeout_s = 1.0

[streams.temp]
topic = "plant/{device}/temp"
format = "json"
channels = { celsius = "degC", load = "%" }
rate_hz = 100
silent_ms = 1500
on_silence = "alert"
clock = "synced"
stamp_unit = "ms"

[streams.temp.clean]
range = { celsius = [-50, 200] }
max_age_ms = 60000

[[features]]
stream = "temp"
channels = ["celsius"]
window = 4
stats = ["mean"]

[publish.status]
every_s = 0.2
"""


@pytest.fixture
def peer(broker):
    peer = Peer(broker.port)
    yield peer
    peer.close()


@pytest.fixture
def edge(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker, PIPELINE)
    until(lambda: health(peer))
    yield edge
    edge.close()


def health(peer):
    found = peer.json("watched/health")
    return found[-1] if found else None


def temp(peer):
    return health(peer)["streams"]["temp"]


def feed(peer, value=20, n=3, age_s=0.0, seq=None):
    now = time.time()
    for i in range(n):
        peer.client.publish("plant/press-7/temp", json.dumps({"celsius": value, "load": 1, "t": round((now - age_s) * 1000) + i}))


def test_a_source_is_silent_speaks_falls_silent_and_each_is_told_with_its_beginning_and_as_an_alert(peer, edge):
    assert temp(peer)["state"] == "silent"
    assert not temp(peer)["heard"]
    until(lambda: [a for a in peer.json("watched/alerts") if a["state"] == "raised"], "a source that never spoke is an alert too")
    before = time.time_ns()
    feed(peer)
    until(lambda: temp(peer)["state"] == "ok")
    assert health(peer)["state"] == "ok"
    assert before - 10**9 < temp(peer)["since_ns"] <= time.time_ns()
    until(lambda: [a["state"] for a in peer.json("watched/alerts")] == ["raised", "cleared"])
    until(lambda: temp(peer)["state"] == "silent")
    assert temp(peer)["heard"]
    until(lambda: "press-7" in health(peer)["devices"].get("names", {}))
    until(lambda: [a["state"] for a in peer.json("watched/alerts")] == ["raised", "cleared", "raised"])
    raised = peer.json("watched/alerts")[-1]
    assert raised["name"] == "silent.temp"
    assert raised["severity"] == "warning"
    until(lambda: edge.noted("temp silent for"), "the service manager is told too")
    assert edge.process.poll() is None
    fed = len([note for _, note in edge.notes if "WATCHDOG=1" in note])
    until(lambda: edge.noted("") or len([note for _, note in edge.notes if "WATCHDOG=1" in note]) > fed, "silence is no reason to restart")


def test_refused_and_old_messages_are_states_of_their_own_and_a_flood_of_old_ones_is_aged_out(peer, edge):
    feed(peer, value=999)
    until(lambda: temp(peer)["state"] == "refused")
    feed(peer)
    until(lambda: temp(peer)["state"] == "ok")
    made = until(peer.status)["decisions"]["made"]
    seen = len(peer.json("watched/health"))
    for _ in range(20):
        feed(peer, n=100, age_s=3600)
    until(lambda: [h for h in peer.json("watched/health")[seen:] if h["flood"]["state"] == "flood"])
    until(lambda: [h for h in peer.json("watched/health")[seen:] if h["streams"]["temp"]["state"] == "late"])
    status = until(lambda: (s := peer.status())["streams"]["temp"]["dropped"].get("stale", 0) == 2000 and s)
    assert status["decisions"]["made"] == made, "nothing was decided on them"
    until(lambda: health(peer)["flood"]["state"] == "ok")


def test_a_broker_that_stops_in_mid_connection_is_noticed_by_its_silence_and_found_again(broker, peer, edge):
    until(lambda: health(peer)["link"]["state"] == "up")
    stopped = time.monotonic()
    broker.pause()
    try:
        until(lambda: edge.noted("silent for 7.5 s"), "half-open TCP", 60)
        until(lambda: edge.noted("no CONNACK in time"), "it accepts and does not answer", 60)
    finally:
        broker.resume()
    noticed = next(at for at, note in edge.notes if "silent for 7.5 s" in note)
    assert noticed - stopped < 15 * 1.5, "1.5 keepalives, and what a busy machine adds"
    status = until(lambda: (s := peer.status()) and s["link"]["connects"] == 2 and s)
    assert status["health"]["link"]["state"] == "up"
    assert peer.json("watched/health")[-1]["link"]["connects"] == 2


def test_a_broker_that_dies_is_unreachable_and_its_return_tells_of_a_lost_session(broker, peer, edge):
    broker.kill()
    until(lambda: edge.noted("Connection refused"))
    broker.start()
    until(lambda: health(peer) and health(peer)["link"]["connects"] == 2)
    assert health(peer)["link"]["state"] == "up"


def test_the_last_health_says_that_it_was_stopped_and_the_broker_keeps_it(broker, peer, edge):
    assert edge.stop() == 0
    late = Peer(broker.port)
    try:
        until(lambda: health(late))
        assert health(late)["state"] == "stopped"
        assert all(m.retain for _, m in late.all("watched/health"))
    finally:
        late.close()


def test_a_process_that_is_stopped_feeds_no_watchdog(peer, edge):
    until(lambda: edge.noted("WATCHDOG=1"))
    edge.process.send_signal(signal.SIGSTOP)
    try:
        edge.noted("")
        edge.notes.clear()
        time.sleep(1.0)  # two and a half watchdog periods
        edge.noted("")
        assert len([note for _, note in edge.notes if "WATCHDOG=1" in note]) == 0
    finally:
        edge.process.send_signal(signal.SIGCONT)
    until(lambda: edge.noted("WATCHDOG=1"))


def run_status(*arguments):
    command = [sys.executable, "-m", "edge", "status", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"}, check=False)


def test_edge_status_shows_it_as_a_table_and_tells_good_from_bad_by_its_code(broker, peer, edge):
    shown = run_status("--url", broker.url, "--name", "watched", "--seconds", "5")
    assert shown.returncode == 1, shown.stderr
    assert "degraded" in shown.stdout
    assert "stream temp" in shown.stdout
    assert "nothing came yet" in shown.stdout
    told = run_status(str(edge.file), "--broker-url", broker.url, "--json", "--seconds", "5")
    found = json.loads(told.stdout)
    assert found["watched"]["health"]["streams"]["temp"]["state"] == "silent"
    assert found["watched"]["availability"] == "online"
    assert edge.stop() == 0
    gone = run_status("--url", broker.url, "--name", "watched", "--seconds", "2")
    assert gone.returncode == 1
    assert "stopped" in gone.stdout
    nobody = run_status("--url", broker.url, "--name", "nobody", "--seconds", "1")
    assert nobody.returncode == 1
    assert "nothing is known of nobody" in nobody.stderr


def test_safe_mode_is_told_by_health_by_edge_status_first_and_by_its_code_also_after_a_reload(tmp_path, broker, peer):
    safe = Edge(tmp_path, broker, PIPELINE, options=("--safe",))
    try:
        until(lambda: health(peer))
        feed(peer)
        for _ in range(2):
            found = until(lambda: (one := health(peer))["streams"]["temp"]["state"] == "ok" and one)
            assert (found["state"], found["mode"]["state"]) == ("safe mode", "safe")
            shown = run_status("--url", broker.url, "--name", "watched", "--seconds", "5")
            assert shown.returncode == 1, shown.stdout
            first, second = shown.stdout.splitlines()[:2]
            assert (first.split()[:4], second.split()[:2]) == (["daemon", "watched", "safe", "mode"], ["mode", "safe"])
            until(lambda: safe.noted("STATUS=") and safe.noted("safe mode (edge run --safe"), "the service manager is told too")
            safe.notes.clear()
            until(lambda: safe.noted("WATCHDOG=1"), "it is fed as ever")
            boot = found["boot_id"]
            safe.process.send_signal(signal.SIGHUP)
            until(lambda: health(peer)["boot_id"] != boot)  # noqa: B023 - awaited within the turn
            feed(peer)
    finally:
        safe.close()
