import json
import threading
import time
from pathlib import Path

import msgpack
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_bridge.errors import LinkError
from firmware_bridge.gateway import Gateway
from tests.bridge.pty_board import plug
from tests.broker import Mosquitto, needs_mosquitto

WAIT_S = 20


@needs_mosquitto
def test_telemetry_commands_and_acks_travel_between_a_line_and_a_broker(  # noqa: PLR0915
    shim: Path, tmp_path: Path
):
    broker, board = Mosquitto(tmp_path).start(), plug(shim)
    gateway = Gateway(f"serial://{board.path}?baud=921600", broker.url, "rig")
    thread = threading.Thread(target=gateway.run)
    thread.start()
    seen: dict[str, list[bytes]] = {}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: seen.setdefault(message.topic, []).append(message.payload)
    client.connect("127.0.0.1", broker.port)
    client.subscribe("serial/#")
    client.loop_start()
    end_s = time.monotonic() + WAIT_S

    def until(is_done) -> None:
        while not is_done() and time.monotonic() < end_s:
            time.sleep(0.01)
        assert is_done(), seen.keys()

    try:
        until(lambda: len(seen.get("serial/rig/imu", [])) > 20)
        block = msgpack.unpackb(seen["serial/rig/imu"][0])
        assert (block["v"], len(block["x"])) == (1, 8)
        until(lambda: gateway.port.session.is_ready)
        client.publish("serial/rig/brake/set", json.dumps({"id": "a", "value": 60, "ttl_ms": 900}))
        until(lambda: "serial/rig/ack" in seen)
        ack = json.loads(seen["serial/rig/ack"].pop())
        assert (ack["id"], ack["actuator"], ack["status"], ack["value"]) == ("a", "brake", "ok", 60.0)
        assert board.board.actuators()[1] == 60.0
        for payload, word in (("{", "not {"), ('{"value": 101, "ttl_ms": 5}', "from 0 to 100"), ('{"value": 1, "ttl_ms": 0}', "ttl_ms")):
            client.publish("serial/rig/brake/set", payload)
            until(lambda: seen["serial/rig/ack"])
            assert word in json.loads(seen["serial/rig/ack"].pop())["status"]
        client.publish("serial/rig/horn/set", '{"value": 1, "ttl_ms": 9}')
        until(lambda: seen["serial/rig/ack"])
        assert "no such actuator" in json.loads(seen["serial/rig/ack"].pop())["status"]
        until(lambda: "serial/rig/status" in seen and seen["serial/rig/availability"][-1] == b"online")
        gateway.stop()
        until(lambda: seen["serial/rig/availability"][-1] == b"stopped")
    finally:
        gateway.stop()
        thread.join(10)
        client.disconnect()
        client.loop_stop()
        board.unplug()
        broker.close()


def test_what_cannot_be_used_is_said():
    for broker, name, word in (("http://x", "rig", "is no broker"), ("mqtt://127.0.0.1", "a/b", "cannot be a level")):
        with pytest.raises(LinkError, match=word):
            Gateway("/dev/null", broker, name)
