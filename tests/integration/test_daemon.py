"""The daemon as a process of its own, driven and observed through a real broker by strangers."""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import msgpack
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.broker import Mosquitto, needs_mosquitto

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]
TIMEOUT_S = 30

PIPELINE = """
name = "guard"
budget_ms = 150
tick_ms = 10

[streams.temp]
topic = "plant/{device}/temp"
format = "json"
channels = { celsius = "degC", load = "%" }
rate_hz = 100

[streams.temp.clean]
range = { celsius = [-50, 200] }

[streams.vib]
topic = "plant/{device}/vib"
channels = { ax = "g" }
rate_hz = 1000
max_rows = 64
max_bytes = 2000

[[features]]
stream = "temp"
channels = ["celsius"]
window = 4
stats = ["mean", "max"]

[[rules]]
name = "hot"
score = "temp.celsius.mean.4"
enter = 60
exit = 50
emit = "alert"
severity = "critical"
topic = "plant/{device}/alerts"

[[rules]]
name = "cool-down"
score = "temp.celsius.mean.4"
enter = 60
exit = 50
emit = "command"
actuator = "fan"
value = 0.9

[actuators.fan]
topic = "plant/{device}/cmd/fan"
unit = "1"
min = 0.0
max = 0.8
ttl_ms = 200
safe_value = 0.3
stale_ms = 300
rearm_ms = 0

[publish.predictions]
topic = "plant/{device}/pred"
features = true

[publish.status]
every_s = 0.1
"""


class Peer:
    """Everything that strangers see and send: plain paho."""

    def __init__(self, port):
        self.lock, self.seen = threading.Lock(), []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = self._on_message
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.reconnect_delay_set(0.05, 0.05)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_message(self, _client, _userdata, message):
        with self.lock:
            self.seen.append((time.time_ns(), message))

    def all(self, ending):
        with self.lock:
            return [(at, m) for at, m in self.seen if m.topic.endswith(ending)]

    def json(self, ending):
        return [json.loads(m.payload) for _, m in self.all(ending)]

    def status(self):
        found = self.json("/status")
        return found[-1] if found else None

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def until(condition, what="", timeout_s=TIMEOUT_S):
    end = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, what or condition
        time.sleep(0.01)


class Edge:
    """`edge run` with a notify socket of ours."""

    def __init__(self, tmp_path, broker, text=PIPELINE, *, wait=True, options=()):
        self.file = tmp_path / "pipeline.toml"
        self.file.write_text(text)
        self.log = tmp_path / "edge.log"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(tmp_path / f"notify-{random.getrandbits(32):x}"))
        self.notify.settimeout(0.05)
        self.notes = []
        env = {**os.environ, "NOTIFY_SOCKET": self.notify.getsockname(), "WATCHDOG_USEC": "400000"}
        command = [sys.executable, "-m", "edge", "run", str(self.file), "--broker-url", broker.url, *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        if wait:
            until(lambda: self.noted("READY=1") or self.process.poll() is not None, "READY", 60)
            assert self.process.poll() is None, self.log.read_text()

    def noted(self, text):
        try:
            while True:
                self.notes.append((time.monotonic(), self.notify.recv(4096).decode()))
        except TimeoutError:
            pass
        return any(text in note for _, note in self.notes)

    def stop(self, number=signal.SIGTERM, timeout_s=5.0):
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.notify.close()


@pytest.fixture
def peer(broker):
    peer = Peer(broker.port)
    yield peer
    peer.close()


@pytest.fixture
def edge(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker)
    until(lambda: peer.status() and peer.status()["state"] == "running")
    yield edge
    edge.close()


def balanced(status):
    for name, stream in status["streams"].items():
        settled = stream["used"] + stream["held"] + stream["late"] + stream["duplicate"]
        settled += sum(stream["invalid"].values()) + sum(stream["dropped"].values())
        assert stream["received"] == settled, (name, stream)
    return status


def pub(broker, topic, *messages):
    lines = "\n".join(messages) + "\n"
    subprocess.run(["mosquitto_pub", "-p", str(broker.port), "-t", topic, "-l"], input=lines.encode(), check=True, timeout=20)


def readings(values, first=0, **extra):
    return [json.dumps({"celsius": v, "load": 1, "seq": first + i, **extra}) for i, v in enumerate(values)]


def test_json_in_alert_out_command_out_with_ttl(broker, peer, edge):
    pub(broker, "plant/press-7/temp", *readings([20, 20, 20, 20, 90, 90, 90, 90, 20, 20, 20, 20]))
    until(lambda: len(peer.json("/alerts")) == 2)
    raised, cleared = peer.json("/alerts")
    assert (raised["name"], raised["state"], raised["severity"], raised["device"]) == ("hot", "raised", "critical", "press-7")
    assert cleared["state"] == "cleared"
    assert raised["value"] > 60 > 50 > cleared["value"]
    assert raised["cause"]["rule"] == "hot"
    assert all(m.qos == 1 and not m.retain for _, m in peer.all("/alerts"))
    commands = peer.json("/cmd/fan")
    assert {c["value"] for c in commands if c["cause"]["rule"] == "cool-down"} == {0.8}, "clamped to the actuator's max"
    assert all(c["expires_ns"] - c["issued_ns"] == 200_000_000 and c["boot_id"] == raised["boot_id"] for c in commands)
    assert [c["seq"] for c in commands] == sorted({c["seq"] for c in commands})
    assert all(m.qos == 0 and not m.retain and m.properties.MessageExpiryInterval == 1 for _, m in peer.all("/cmd/fan"))
    predictions = peer.json("/pred")
    assert len(predictions) == 9
    assert predictions[1]["features"] == [37.5, 90.0]
    status = balanced(until(lambda: (s := peer.status())["streams"]["temp"]["used"] == 12 and s))
    assert status["decisions"]["made"] == 9
    assert status["alerts"]["raised"] == status["alerts"]["cleared"] == 1


def test_silence_moves_the_actuator_to_its_safe_value_and_keeps_it_there(broker, peer, edge):
    pub(broker, "plant/a/temp", *readings([90] * 6))
    until(lambda: [c for c in peer.json("/cmd/fan") if c["value"] == 0.3])
    until(lambda: len([c for c in peer.json("/cmd/fan") if c["value"] == 0.3]) >= 3, "a heartbeat of the safe value")
    assert all(c["value"] == 0.3 for c in peer.json("/cmd/fan")[-2:])


def test_bad_payloads_are_counted_and_nothing_dies(broker, peer, edge):
    rng = random.Random(1)
    deep = b"\x91" * 5000
    good = msgpack.packb({"v": 1, "seq": 0, "t": 1, "x": struct.pack("<f", 1.0)})
    hostile = [
        b"",
        good[: len(good) // 2],
        rng.randbytes(200),
        deep,
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        msgpack.packb({"v": 2, "x": b"\0" * 4}),
        msgpack.packb({"v": 1, "x": b"\0" * 5}),
        msgpack.packb({"v": 1, "x": [1.0]}),
        msgpack.packb({"v": 1, "t": 1, "x": struct.pack("<f", float("nan"))}),
        msgpack.packb({"v": 1, "t": 2, "dt": 1, "x": b"\0" * 4 * 65}),
        b'{"ax": 1}',
        b"z" * 10_000_000,
    ]
    for payload in hostile:
        peer.client.publish("plant/a/vib", payload)
    for payload in (
        b"{",
        b"[]",
        b'{"celsius": "hot", "load": 1}',
        b'{"load": 1}',
        b'{"celsius": 1e999, "load": 1}',
        b'{"celsius": 999, "load": 1}',
        good,
    ):
        peer.client.publish("plant/a/temp", payload)
    peer.client.publish("plant/a/vib", good)
    status = balanced(until(lambda: (s := peer.status())["streams"]["vib"]["used"] == 1 and s, edge.log.read_text))
    vib, temp = status["streams"]["vib"], status["streams"]["temp"]
    assert vib["received"] == len(hostile) + 1
    assert vib["invalid"]["too_large"] >= 1
    assert vib["invalid"]["not_finite"] == 1
    assert sum(vib["invalid"].values()) == len(hostile)
    assert temp["received"] == sum(temp["invalid"].values()) == 7
    assert status["faults"] == 0
    pub(broker, "plant/a/temp", *readings([90] * 4, first=100))
    until(lambda: peer.json("/alerts"))
    assert "Traceback" not in edge.log.read_text()


def test_sequence_faults_are_counted_by_kind(broker, peer, edge):
    for seq in (0, 1, 1, 5, 3, 6):
        peer.client.publish("plant/a/vib", msgpack.packb({"v": 1, "seq": seq, "t": seq * 1000 + 1, "x": struct.pack("<f", 1.0)}))
    status = balanced(until(lambda: (s := peer.status())["streams"]["vib"]["received"] == 6 and s))
    vib = status["streams"]["vib"]
    assert (vib["used"], vib["duplicate"], vib["late"], vib["lost_frames"]) == (4, 1, 1, 3)


def test_a_broker_killed_in_mid_stream_loses_no_alert_and_yields_no_stale_command(tmp_path, broker, peer):
    # The daemon comes back later than the peer, so that the peer hears what was kept for it.
    edge = Edge(tmp_path, broker, PIPELINE + "\n[broker]\nretry_min_s = 1.0\n")
    until(lambda: peer.status() and peer.status()["state"] == "running")
    stop, kills, returns = threading.Event(), [], []

    def produce():
        seq = 0
        while not stop.is_set():
            peer.client.publish("plant/a/temp", readings([90 if seq // 40 % 2 else 20], first=seq)[0])
            seq += 1
            time.sleep(0.005)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for n in range(1, 4):
            count = len(peer.json("/alerts"))
            until(lambda count=count: len(peer.json("/alerts")) >= count + 3)
            kills.append(time.time_ns())
            broker.kill()
            time.sleep(0.4)
            returns.append(time.time_ns())
            broker.start()
            until(lambda n=n: peer.status()["link"]["connects"] == n + 1)
            until(lambda count=count: len(peer.json("/alerts")) >= count + 6)
    finally:
        stop.set()
        producer.join()
    status = until(lambda: (s := peer.status()) and not s["alerts"]["waiting"] and not s["alerts"]["in_flight"] and s)
    made = balanced(status)["alerts"]["raised"] + status["alerts"]["cleared"]
    boot = status["boot_id"]
    until(lambda: f"{boot}-a{made}" in {a["id"] for a in peer.json("/alerts")})
    arrived = {a["id"]: a for a in peer.json("/alerts")}
    lost = {f"{boot}-a{n}" for n in range(1, made + 1)} - set(arrived)
    # What a broker acknowledged and took with it when it died is the broker's loss: at most the alert of that very moment.
    for name in lost:
        after = arrived[f"{boot}-a{int(name.rpartition('-a')[2]) + 1}"]
        assert any(0 < after["issued_ns"] - kill < 400_000_000 for kill in kills), f"{name} was lost while the link was up"
    assert status["alerts"]["evicted"] == 0
    # How late the peer looks is its own affair; what was issued before the broker came back must not have been kept for it.
    for at, message in peer.all("/cmd/fan"):
        issued_ns = json.loads(message.payload)["issued_ns"]
        assert not any(issued_ns < back < at for back in returns), "a command was kept while there was no broker"
    edge.close()


def test_a_broker_that_is_absent_at_start_is_waited_for_in_good_health(tmp_path):
    broker = Mosquitto(tmp_path)
    edge = Edge(tmp_path, broker)
    until(lambda: edge.noted("Connection refused"))
    until(lambda: len([n for _, n in edge.notes if "WATCHDOG=1" in n]) + edge.noted("") * 0 >= 3)
    broker.start()
    peer = Peer(broker.port)
    until(lambda: peer.status() and peer.status()["state"] == "running")
    assert edge.log.read_text().count("refused") == 1, "said once, not at every attempt"
    peer.close()
    edge.close()
    broker.close()


def test_sigterm_sends_safe_values_says_stopped_and_ends_soon(broker, peer, edge):
    pub(broker, "plant/a/temp", *readings([90] * 6))
    until(lambda: peer.json("/cmd/fan"))
    began = time.monotonic()
    assert edge.stop() == 0
    assert time.monotonic() - began < 10, "2 s where the processor is not shared"
    until(lambda: [m.payload for _, m in peer.all("/availability")][-1:] == [b"stopped"])
    until(lambda: peer.json("/cmd/fan")[-1]["value"] == 0.3)
    assert edge.noted("STOPPING=1")


def test_a_process_that_is_killed_is_announced_offline_by_the_broker(broker, peer, edge):
    edge.process.kill()
    until(lambda: [m.payload for _, m in peer.all("/availability")][-1:] == [b"offline"])


def test_sighup_takes_a_valid_file_and_refuses_an_invalid_one(broker, peer, edge):
    boot = peer.status()["boot_id"]
    edge.file.write_text(PIPELINE.replace("enter = 60", "entre = 60"))
    edge.process.send_signal(signal.SIGHUP)
    until(lambda: "reload refused" in edge.log.read_text())
    assert "rules[0].entre" in edge.log.read_text()
    assert peer.status()["boot_id"] == boot
    edge.file.write_text(PIPELINE.replace("enter = 60", "enter = 30").replace("exit = 50", "exit = 20"))
    edge.process.send_signal(signal.SIGHUP)
    until(lambda: peer.status()["boot_id"] != boot)
    pub(broker, "plant/a/temp", *readings([40] * 5))
    until(lambda: peer.json("/alerts"))
    assert edge.noted("RELOADING=1")


def test_the_watchdog_is_fed_by_the_loop_and_stops_with_it(edge):
    def pings():
        edge.noted("")
        return sum("WATCHDOG=1" in note for _, note in edge.notes)

    first = pings()
    until(lambda: pings() > first + 2)
    edge.process.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    stopped = pings()
    time.sleep(0.6)
    assert pings() == stopped
    edge.process.send_signal(signal.SIGCONT)
    until(lambda: pings() > stopped)


def test_a_flood_of_devices_stays_within_the_lanes(broker, peer, edge):
    for i in range(60):
        peer.client.publish(f"plant/d{i}/temp", readings([20])[0])
    status = until(lambda: (s := peer.status())["streams"]["temp"]["received"] == 60 and s)
    assert balanced(status)["lanes"] == {"used": 16, "of": 16, "evictions": 44}
