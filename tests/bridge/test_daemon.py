"""The daemon with a board on its own line: telemetry in, rules, a command out, its ack, and the board's loss in the status."""

import json
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.build import daemon
from edge.config.load import load
from edge.errors import ConfigError
from tests.bridge.pty_board import PtyBoard, plug
from tests.broker import Mosquitto, needs_mosquitto

WAIT_S = 60
FILE = """
name = "rig"
budget_ms = 200
[broker]
url = "{url}"
[serial.one]
url = "serial://{path}?baud=921600"
[streams.imu]
topic = "serial/{{device}}/imu"
channels = {{ ax = "g" }}
rate_hz = 1000
[[features]]
stream = "imu"
channels = ["ax"]
window = 4
hop = 2
stats = ["mean"]
[[rules]]
name = "brake"
score = "imu.ax.mean.4"
enter = 20.0
exit = 10.0
emit = "command"
actuator = "brake"
value = 80.0
[actuators.brake]
topic = "serial/{{device}}/brake"
unit = "%"
min = 0
max = 100
safe_value = 100
ttl_ms = 300
stale_ms = 1000
"""


def write(folder: Path, path: str, url: str = "mqtt://127.0.0.1:1883") -> Path:
    file = folder / "rig.toml"
    file.write_text(FILE.format(url=url, path=path))
    return file


def test_lines_that_cannot_be_are_refused(tmp_path: Path):
    file = write(tmp_path, "/dev/x")
    file.write_text(file.read_text().replace("baud=921600", "bad=1").replace("serial/{device}/brake", "serial/two/brake"))
    with pytest.raises(ConfigError) as found:
        load(file)
    assert "serial.one.url" in str(found.value)
    assert "actuators.brake.topic" in str(found.value)


@needs_mosquitto
def test_the_daemon_reads_a_board_and_commands_it(shim: Path, tmp_path: Path):
    broker, board = Mosquitto(tmp_path).start(), plug(shim)
    reports: list[dict] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: reports.append(json.loads(message.payload))
    client.connect("127.0.0.1", broker.port)
    client.subscribe("edge/rig/status")
    client.loop_start()
    runtime = daemon(write(tmp_path, board.path, broker.url))
    unplugger = threading.Thread(target=_watch, args=(runtime, board, reports))
    unplugger.start()
    try:
        assert runtime.run() == 0
    finally:
        unplugger.join(WAIT_S)
        client.loop_stop()
        broker.close()
    lines = [report["serial"]["one"] for report in reports if "serial" in report]
    assert any(line["state"] == "open" and line["commands"].get("ok", 0) > 0 for line in lines)
    assert any(line["state"].startswith("closed: ") for line in lines)
    assert board.board.actuators()[1] in (80.0, 100.0)


def _watch(runtime, board: PtyBoard, reports: list[dict]) -> None:
    end_s = time.monotonic() + WAIT_S
    done = {"plugged": False}
    while time.monotonic() < end_s:
        time.sleep(0.02)
        line = reports[-1].get("serial", {}).get("one", {}) if reports else {}
        if not done["plugged"] and line.get("commands", {}).get("ok", 0):
            done["plugged"] = True
            board.unplug()
        if line.get("state", "").startswith("closed: "):
            break
    runtime.stop()
