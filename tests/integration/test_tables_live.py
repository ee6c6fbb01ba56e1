"""A daemon whose table changes under it: the next vectors have the new values, and a broken file changes nothing."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.build import daemon
from tests.broker import Mosquitto, broker, needs_mosquitto  # noqa: F401 - a fixture

PIPELINE = """
name = "fleet"
budget_ms = 500

[streams.can]
topic = "fleet/{device}/can"
format = "json"
channels = { speed = "m/s" }

[tables.vehicle]
path = "vehicles.csv"
columns = { mass = "kg" }
refresh_s = 0.1

[[features]]
stream = "can"
channels = ["speed"]
window = 1
stats = ["last"]

[[features]]
table = "vehicle"
columns = ["mass"]

[publish.predictions]
topic = "fleet/{device}/pred"
features = true

[publish.status]
every_s = 0.1
"""


def rewrite(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


class Peer:
    """Drives one vehicle, and hears the masses in its predictions and the daemon's reports."""

    def __init__(self, port: int) -> None:
        self.masses: list[float] = []
        self.vehicle: dict[str, Any] = {"loads": 0, "failures": 0}
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.subscribe([("fleet/+/pred", 0), ("edge/fleet/status", 0)])
        self.client.loop_start()

    def _on_message(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        if message.topic.endswith("/pred"):
            features = body["features"]
            self.masses.append(features[1] if isinstance(features, list) else features["vehicle.mass"])
        elif "tables" in body:
            self.vehicle = body["tables"]["vehicle"]

    def drive_until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, (self.masses[-3:], self.vehicle)
            self.client.publish("fleet/v1/can", json.dumps({"speed": 1.0, "t": time.monotonic_ns()}))
            time.sleep(0.01)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@needs_mosquitto
@pytest.mark.timeout(180)
def test_a_table_is_swapped_between_frames(tmp_path: Path, broker: Mosquitto) -> None:  # noqa: F811
    table = tmp_path / "vehicles.csv"
    table.write_text("device,mass\nv1,1200\n")
    (tmp_path / "fleet.toml").write_text(PIPELINE)
    peer = Peer(broker.port)
    running = daemon(tmp_path / "fleet.toml", broker_url=broker.url)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        peer.drive_until(lambda: peer.masses)
        rewrite(table, "device,mass\nv1,1300\nv2,1\n")
        peer.drive_until(lambda: peer.masses[-1] == 1300)
        rewrite(table, "device,mass\nv1,1400\nv1,1500\n")
        peer.drive_until(lambda: peer.vehicle["failures"] == 1)
        seen = len(peer.masses)
        peer.drive_until(lambda: len(peer.masses) > seen + 5)
    finally:
        running.stop()
        thread.join(20)
        peer.close()
    assert (peer.vehicle["rows"], peer.vehicle["loads"]) == (2, 2)
    assert 0 <= peer.vehicle["age_s"] < 120
    assert 0 <= peer.vehicle["loaded_s"] < 120
    assert set(peer.masses) == {1200, 1300}
