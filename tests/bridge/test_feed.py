"""The shipped recording of a receiver: read right, played on a terminal, carried by `edge bridge`, which says what it does."""

import gzip
import json
import logging
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_bridge.feed import SHIPPED, main
from firmware_bridge.foreign import Nmea
from firmware_bridge.gateway import Gateway
from tests.bridge.pty_board import plug
from tests.broker import Mosquitto, needs_mosquitto

WAIT_S = 30
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def fed(*arguments: str):
    command = [sys.executable, "-m", "firmware_bridge.feed", "--seconds", "60", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def carried(url: str, broker: Mosquitto):
    gateway, seen = Gateway(url, broker.url, "gps"), {}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: seen.setdefault(message.topic, []).append(message.payload)
    client.connect("127.0.0.1", broker.port)
    client.subscribe("serial/#")
    client.loop_start()

    def until(is_done) -> None:
        end_s = time.monotonic() + WAIT_S
        while not is_done() and time.monotonic() < end_s:
            gateway.step()
        assert is_done(), {topic: messages[-1] for topic, messages in seen.items()}

    try:
        yield gateway, client, seen, until
    finally:
        gateway.stop()
        gateway.run()
        client.disconnect()
        client.loop_stop()


def test_the_shipped_recording_has_the_fixes_that_gpsd_sees():
    told = gzip.decompress(SHIPPED.with_name("mt3339.log.chk.gz").read_bytes()).decode(errors="replace").splitlines()
    places = [
        (fix["lat"], fix["lon"]) for fix in map(json.loads, (line for line in told if line.startswith('{"class":"TPV"'))) if "lat" in fix
    ]
    reader, raw = Nmea(), SHIPPED.read_bytes()
    found = [json.loads(payload) for at in range(0, len(raw), 61) for _, payload in reader.feed(raw[at : at + 61])]
    assert len(found) == 60
    assert all(any(abs(one["lat"] - a) < 2e-5 and abs(one["lon"] - b) < 2e-5 for a, b in places) for one in found)
    assert SHIPPED.with_name("COPYING").exists()


@needs_mosquitto
@pytest.mark.timeout(120)
def test_a_receiver_that_is_read_is_alive_and_what_flows_is_said(tmp_path: Path, caplog):
    """It said "open, no board answers" for ever while fixes flowed, and not that the broker was reached."""
    broker = Mosquitto(tmp_path).start()
    with (
        caplog.at_level(logging.INFO),
        fed("--rate", "20000") as path,
        carried(f"serial://{path}?protocol=nmea", broker) as (_, _, seen, until),
    ):
        until(lambda: len(seen.get("serial/gps/fix", [])) > 40)  # more than once through the file
        seen.pop("serial/gps/status", None)
        until(lambda: seen.get("serial/gps/status"))
        status = json.loads(seen["serial/gps/status"][-1])
    broker.close()
    assert (status["state"], status["is_alive"]) == ("open", True)
    assert status["received"] >= status["used"] > 40
    said = [record.getMessage() for record in caplog.records]
    assert said.count(f"the broker at 127.0.0.1:{broker.port} is reached") == 1
    assert (said.count("serial/gps/fix flows"), said.count("serial/gps/motion flows")) == (1, 1)


@needs_mosquitto
@pytest.mark.timeout(120)
def test_a_line_that_makes_no_sense_is_said_to_be_one(tmp_path: Path):
    broker, noise = Mosquitto(tmp_path).start(), tmp_path / "noise"
    noise.write_bytes(bytes(range(128, 256)) * 8)
    with fed("--rate", "2000", str(noise)) as path, carried(f"serial://{path}?protocol=nmea", broker) as (_, _, seen, until):
        until(lambda: any(json.loads(one)["state"] == "open, nothing usable comes" for one in seen.get("serial/gps/status", [])))
        assert json.loads(seen["serial/gps/status"][-1])["is_alive"] is False
    broker.close()


@needs_mosquitto
@pytest.mark.timeout(120)
def test_a_command_that_leaves_can_be_seen(shim: Path, tmp_path: Path, caplog):
    broker, board = Mosquitto(tmp_path).start(), plug(shim)
    with caplog.at_level(logging.DEBUG), carried(f"serial://{board.path}?baud=921600", broker) as (gateway, client, seen, until):
        until(lambda: gateway.port.session.is_ready and "serial/gps/imu" in seen)
        client.publish("serial/gps/brake/set", json.dumps({"value": 60, "ttl_ms": 900}))
        until(lambda: "serial/gps/ack" in seen)
    board.unplug()
    broker.close()
    said = "\n".join(record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG)
    assert "command brake = 60 leaves on the line, void after 900 ms" in said
    assert "command brake = 60: ok after" in said


def test_a_feeder_says_what_it_cannot_play(tmp_path: Path, capsys):
    (tmp_path / "empty").touch()
    assert main([str(tmp_path / "empty")]) == main([str(tmp_path / "none")]) == 3
    assert "is empty" in capsys.readouterr().err
