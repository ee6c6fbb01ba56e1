"""A version goes to a device over a real broker, which is killed, and so are both sides; orders are obeyed once."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.inference.bundle import load_bundle
from edge.store.registry import Registry
from tests.broker import Mosquitto, needs_mosquitto
from tests.unit.registry_bundles import NAME, bundle, unproved

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]
WAIT_S = 40


class Device:
    """`edge models receive` in a process."""

    def __init__(self, registry: Path, url: str, log: Path, *more: str) -> None:
        command = [sys.executable, "-m", "edge", "models", "receive", "--registry", registry, "--url", url, "--name", "device-1", *more]
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        wait(lambda: log.read_text().count("connected to mqtt") > 0)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


def wait(condition) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.05)


def sender(version: Path, url: str, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "edge", "models", "send", version, "--url", url, "--to", "device-1", "--why", "field test", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def big(folder: Path, version: str, mib: int = 6) -> Path:
    """A bundle with a listed file that takes many pieces."""
    import hashlib

    home = bundle(folder, version)
    data = os.urandom(mib << 20)
    (home / "notes.bin").write_bytes(data)
    manifest = home / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("[files]", f'[files]\n"notes.bin" = "{hashlib.sha256(data).hexdigest()}"', 1))
    load_bundle(folder, version)
    return home


@pytest.fixture
def registry(tmp_path):
    root = tmp_path / "device" / NAME
    made = Registry(root, proof=unproved)
    made.install(bundle(tmp_path / "first", "1.0.0"), "test")
    return made


class Station:
    """A plain MQTT client that gives orders and hears answers."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[dict] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _client, _userdata, message: self.heard.append(json.loads(message.payload))
        self.client.connect("127.0.0.1", broker.port)
        self.client.subscribe("edge/device-1/models/answer/+", 1)
        self.client.loop_start()

    def order(self, what: str, *, age_s: float = 0.0, retain: bool = False, request: str | None = None, **more) -> str:
        request = request or secrets.token_hex(8)
        issued = time.time_ns() - int(age_s * 1e9)
        payload = json.dumps({"id": request, "what": what, "who": "station", "issued_ns": issued, "ttl_ms": 30_000, **more})
        self.client.publish("edge/device-1/models/control", payload, qos=1, retain=retain)
        return request

    def answer(self, request: str) -> dict:
        wait(lambda: any(heard.get("id") == request for heard in self.heard))
        return next(heard for heard in self.heard if heard.get("id") == request)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_a_version_arrives_and_orders_are_obeyed_once(tmp_path, broker, registry):
    device = Device(registry.folder, broker.url, tmp_path / "device.log")
    station = Station(broker)
    try:
        sending = sender(bundle(tmp_path / "new", "1.1.0"), broker.url)
        out, err = sending.communicate(timeout=WAIT_S)
        assert sending.returncode == 0, err
        assert "1.1.0 is installed" in out
        assert registry.state().active == "1.0.0"
        assert station.answer(station.order("activate", version="1.1.0"))["state"]["active"] == "1.1.0"
        request = station.order("rollback")
        assert station.answer(request)["state"]["active"] == "1.0.0"
        station.order("rollback", request=request)  # the broker may bring it twice
        assert "good for" in station.answer(station.order("activate", version="1.1.0", age_s=3600))["error"]
        assert "no version" in station.answer(station.order("activate", version="../../etc"))["error"]
        for rubbish in (b"", b"{", b"[" * 100_000, b'{"id": "../../x"}'):
            station.client.publish("edge/device-1/models/control", rubbish, qos=1)
            station.client.publish("edge/device-1/models/install/offer", rubbish, qos=1)
            station.client.publish("edge/device-1/models/install/piece/..%2f..", rubbish, qos=1)
        assert station.answer(station.order("list"))["versions"] == ["1.0.0", "1.1.0"]
        entries = registry.history()
        assert [entry.what for entry in entries].count("rollback") == 1
        assert entries[1].why == "field test"
    finally:
        station.close()
        assert device.stop() == 0, device.log.read_text()


@pytest.mark.parametrize("victim", ["receiver", "sender", "broker"])
def test_an_install_goes_on_after_one_of_the_three_was_killed(tmp_path, registry, victim):
    broker = Mosquitto(tmp_path).start()
    device = Device(registry.folder, broker.url, tmp_path / "device.log")
    version = big(tmp_path / "new", "2.0.0")
    sending = sender(version, broker.url)
    try:
        incoming = registry.folder / ".incoming"
        wait(lambda: any(path.read_bytes().count(b"\n") > 20 for path in incoming.glob("*/journal")))
        if victim == "receiver":
            device.stop(signal.SIGKILL)
        elif victim == "sender":
            sending.kill()
            sending.communicate(timeout=WAIT_S)
        else:
            broker.kill()
        kept = max(path.read_bytes().count(b"\n") for path in incoming.glob("*/journal"))
        assert kept > 20
        if victim == "receiver":
            device = Device(registry.folder, broker.url, tmp_path / "again.log")
        elif victim == "sender":
            sending = sender(version, broker.url)
        else:
            broker.start()
        _, err = sending.communicate(timeout=WAIT_S)
        assert sending.returncode == 0, err + device.log.read_text()
        assert load_bundle(registry.folder, "2.0.0").manifest.version == "2.0.0"
        assert not list(incoming.iterdir())
        assert registry.state().active == "1.0.0"
    finally:
        sending.kill()
        sending.communicate(timeout=WAIT_S)
        device.stop()
        broker.close()


def test_an_offer_that_is_too_large_is_refused_before_a_byte_is_sent(tmp_path, broker, registry):
    device = Device(registry.folder, broker.url, tmp_path / "device.log", "--most-mb", "0.01")
    try:
        sending = sender(big(tmp_path / "new", "2.0.0", 1), broker.url)
        _, err = sending.communicate(timeout=WAIT_S)
        assert sending.returncode == 3
        assert "at most 10000 are taken" in err
        assert not (registry.folder / ".incoming").exists()
    finally:
        device.stop()
