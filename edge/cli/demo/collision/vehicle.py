"""The simulated car as a program: ``python -m edge.cli.demo.collision.vehicle HOST PORT SCENARIO SEED SENSOR``. A device on MQTT.

Its clock runs in real time, but stands still while a scan is being computed: a real sensor needs no time for that. So what the network and
the runtime take is real, and is what the car drives on in the meantime. It says in its truth how fast its time runs altogether.
"""

import collections
import json
import math
import select
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge.cli.demo.collision.car import DEVICE, STEP_S, TOPICS, Car
from edge.cli.demo.player import _send_at_once
from firmware_bridge.simulator import PRESETS, World, scenario

TRUTH = f"vehicle/{DEVICE}/truth"
_LATE_S = 0.05  # a process that was not run for longer does not make up for it: time stood still as well
_GAP_M = 99.0  # farther is nowhere
_CONNECT_S = 10.0


class Wire:
    """The car's MQTT connection; the client's own thread receives, everything else is called from the car's.

    Args:
        host, port: of the broker.
    """

    def __init__(self, host: str, port: int) -> None:
        self._commands: collections.deque[tuple[bytes, bool]] = collections.deque(maxlen=64)
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"demo-{DEVICE}", protocol=mqtt.MQTTv311)
        client.on_socket_open = _send_at_once
        client.on_connect = self._connected
        client.on_message = self._take
        client.connect(host, port)
        client.loop_start()
        until_s = time.monotonic() + _CONNECT_S
        while not client.is_connected() and time.monotonic() < until_s:
            time.sleep(0.01)

    def commands(self) -> Iterable[bytes]:
        """What came since the last call; what the broker had kept is of unknown age, and left out."""
        while self._commands:
            payload, is_retained = self._commands.popleft()
            if not is_retained:
                yield payload

    def publish(self, topic: str, payload: bytes, qos: int = 0) -> mqtt.MQTTMessageInfo:
        """Hand a message over."""
        return self._client.publish(topic, payload, qos)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(TOPICS.brake)

    def _take(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._commands.append((bytes(message.payload), bool(message.retain)))


def drive(car: Car, wire: Wire) -> None:
    """Drive until it is decided, or stdin says that the demo is over."""
    began_s = due_s = time.monotonic()
    while not car.is_decided:
        has_scan = car.scan_is_due
        for topic, payload in car.messages():
            wire.publish(topic, payload)
        if has_scan:
            wire.publish(TRUTH, truth(car, began_s))
            due_s = time.monotonic()
        due_s = max(due_s + STEP_S, time.monotonic() - _LATE_S)
        if select.select([sys.stdin], [], [], max(due_s - time.monotonic(), 0.0))[0]:
            break
        for payload in wire.commands():
            car.obey(payload, time.time_ns())
        car.step()
    wire.publish(TRUTH, truth(car, began_s, is_last=True), qos=1).wait_for_publish(_CONNECT_S)


def truth(car: Car, began_s: float, *, is_last: bool = False) -> bytes:
    """What is so, as JSON: nobody but the demo's view and its summary hears it.

    Args:
        car: as it is.
        began_s: time.monotonic of the start of the drive.
        is_last: nothing follows.
    """
    world, record = car.world, car.record
    passed_s = time.monotonic() - began_s
    numbers = {name: getattr(record, name) for name in record.__struct_fields__}
    state = {
        "now_s": world.now_s,
        "speed_mps": world.vehicle.speed_mps,
        "gap_m": world.gap_m(limit_m=_GAP_M),
        "ttc_s": world.time_to_collision_s(),
        "brake": car.brake,
        "rate": world.now_s / passed_s if passed_s > 0.0 else 1.0,
        "is_decided": car.is_decided,
        "is_last": is_last,
    }
    finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in (numbers | state).items()}
    return json.dumps(finite).encode()


def main(host: str, port: int, name: str, seed: int, sensor: str) -> None:
    """Connect, compile, wait for the word, drive."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    wire = Wire(host, port)
    Car(World(scenario(name, seed), PRESETS[sensor], seed=seed)).world.scan()  # its kernels are compiled before the clock runs
    car = Car(World(scenario(name, seed), PRESETS[sensor], seed=seed))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.readline():
        drive(car, wire)
        sys.stdin.readline()  # its end is the demo's business
    wire.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
