"""How the daemon ends and changes over while telemetry keeps coming."""

import struct
import threading
import time

import msgpack
import pytest

from tests.broker import needs_mosquitto
from tests.integration.test_daemon import Edge, Peer, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]

PIPELINE = """
name = "guard"
budget_ms = {budget_ms}
tick_ms = {tick_ms}

[streams.s]
topic = "d/{{device}}/s"
channels = {{ x = "1" }}
rate_hz = 1000
qos = {qos}
max_bytes = 8000

[[features]]
stream = "s"
channels = ["x"]
window = 1
stats = ["last"]

[[rules]]
name = "hot"
score = "s.x.last.1"
enter = 0.5
exit = 0.5
emit = "command"
actuator = "fan"
value = 0.9

[[rules]]
name = "note"
score = "s.x.last.1"
enter = 0.5
exit = 0.5
emit = "alert"
topic = "d/{{device}}/alerts"

[actuators.fan]
topic = "d/{{device}}/fan"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 200
safe_value = 0.1
stale_ms = 300
rearm_ms = 0

[publish.status]
every_s = 0.1
"""


def pipeline(budget_ms=100, tick_ms=20, qos=0):
    return PIPELINE.format(budget_ms=budget_ms, tick_ms=tick_ms, qos=qos)


def frame(seq, n=1, x=1.0):
    message = {"v": 1, "seq": seq, "t": (seq + 1) * 1_000_000 * n, "x": struct.pack(f"<{n}f", *[x] * n)}
    return msgpack.packb(message | ({"dt": 1_000_000} if n > 1 else {}))


class Load:
    """A sender that never stops: about 700 messages/s."""

    def __init__(self, port):
        self._peer, self._stop = Peer(port), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        seq = 0
        while not self._stop.is_set():
            self._peer.client.publish("d/a/s", frame(seq))
            seq += 1
            time.sleep(0.001)

    def close(self):
        self._stop.set()
        self._thread.join()
        self._peer.close()


@pytest.fixture
def peer(broker):
    peer = Peer(broker.port)
    yield peer
    peer.close()


@pytest.fixture
def load(broker):
    load = Load(broker.port)
    yield load
    load.close()


@pytest.fixture
def start(tmp_path, broker, peer):
    started = []

    def make(text):
        edge = Edge(tmp_path, broker, text)
        started.append(edge)
        until(lambda: peer.status() and peer.status()["state"] == "running")
        return edge

    yield make
    for edge in started:
        edge.close()


def test_the_last_command_on_the_wire_is_the_safe_value(peer, start, load):
    for _ in range(2):
        edge = start(pipeline())
        count = len(peer.json("/fan"))
        until(lambda count=count: len(peer.json("/fan")) > count + 200)
        assert edge.stop() == 0
        time.sleep(0.3)
        last = peer.json("/fan")[-1]
        assert (last["value"], last["cause"]["rule"]) == (0.1, "envelope.release")
        report = peer.status()
        assert report["state"] == "stopping"


def test_commands_of_a_block_do_not_wait_for_its_last_decision(peer, start):
    start(pipeline(budget_ms=20))
    for seq in range(10):
        peer.client.publish("d/a/s", frame(seq, n=1000))  # a thousand decisions take three times the budget
        time.sleep(0.1)
    report = until(lambda: (s := peer.status())["streams"]["s"]["used"] == 10_000 and s)
    hot = until(lambda: [c for c in peer.json("/fan") if c["cause"]["rule"] == "hot"])
    assert report["commands"]["sent"] >= len(hot) >= 10
