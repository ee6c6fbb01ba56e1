"""A board says what it has; the pipeline file says what it expects. What does not fit is refused, counted and said once a hello."""

import json
import logging
import re
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.build import daemon
from edge.transport.fit import Fit, Wanted, WantedActuator, WantedStream, normal
from edge.transport.serial import Board, SerialLine
from firmware_bridge import protocol, schema
from tests.bridge.c_board import CBoard
from tests.bridge.pty_board import PtyBoard
from tests.bridge.test_daemon import FILE
from tests.broker import Mosquitto, needs_mosquitto

WAIT_S = 60
IMU = WantedStream("vib", "serial/{device}/imu", {"ax": "m/s^2", "ay": "m/s^2"}, 1000.0, is_scan=False)
FAN = WantedActuator("fan", "serial/{device}/fan", "%", 0.0, 100.0)


def met(text: str, wanted: Wanted, caplog: pytest.LogCaptureFixture) -> tuple[Fit, list[str]]:
    fit = Fit("bench", "serial/bench", wanted)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        found = schema.parse(text)
        fit.meet(found)
        fit.meet(found)  # with every message
    of_streams = [record for record in caplog.records if " stream " in record.getMessage()]
    assert {record.stream for record in of_streams} <= {one.key for one in wanted.streams}, (
        "the field by which `edge service logs --stream` finds a line"
    )
    return fit, [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_other_channels_are_refused_until_the_hello_fits(caplog):
    fit, said = met("Nb;T1 imu 1000 ax=m/s^2,ay=m/s^2,az=m/s^2", Wanted((IMU,)), caplog)
    assert said == ["ERROR serial.bench: stream imu has the channels ax, ay, az; streams.vib.channels says ax, ay: its blocks are refused"]
    assert (fit.refuses("serial/bench/imu"), fit.refuses("serial/bench/other"), fit.refused) == (True, False, {"vib": 1})
    fit.meet(schema.parse("Nb;T1 imu 1000 ax=m/s^2,ay=m/s^2"))
    assert not fit.refuses("serial/bench/imu")


@pytest.mark.parametrize(
    ("channels", "is_refused", "words"),
    [
        ("ax=m/s^2,ay=m/s^2", False, ""),
        ("ax=m/s2,ay=m/s\u00b2", False, ""),
        ("ax,ay", False, ""),
        ("ay=m/s^2,ax=m/s^2", True, "has the channels ay, ax; streams.vib.channels says ax, ay"),
        ("x=m/s^2,y=m/s^2", True, "has the channels x, y;"),
        ("ax=m/s^2,ay=g", True, "channel ay of stream imu is in g; streams.vib.channels says m/s^2"),
        ("ax=m/s^2,ay=lsb", False, "channel ay of stream imu is in lsb; streams.vib.channels says m/s^2: not a unit that is known"),
    ],
)
def test_names_order_and_units_must_be_those_of_the_file(channels, is_refused, words, caplog):
    fit, said = met(f"Nb;T1 imu 1000 {channels}", Wanted((IMU,)), caplog)
    assert fit.refuses("serial/bench/imu") is is_refused
    assert len(said) == bool(words)
    assert all(words in line and line.startswith("ERROR" if is_refused else "WARNING") for line in said)


@pytest.mark.parametrize(("rate", "is_said"), [(1000, False), (1090, False), (1110, True), (100, True)])
def test_another_rate_is_said(rate, is_said, caplog):
    fit, said = met(f"Nb;T1 imu {rate} ax=m/s2,ay=m/s2", Wanted((IMU,)), caplog)
    expected = [f"WARNING serial.bench: stream imu has {rate} rows a second, says the board; streams.vib.rate_hz says 1000"]
    assert said == (expected if is_said else [])
    assert not fit.refuses("serial/bench/imu")


def test_what_the_board_has_not_is_said_with_what_it_has(caplog):
    own = WantedStream("words", "serial/{device}/log", {"level": "1"}, None, is_scan=False)
    lidar = WantedStream("lidar", "serial/bench/top", {}, None, is_scan=True)
    elsewhere = WantedStream("far", "serial/other/far", {"x": "1"}, None, is_scan=False)
    fann = WantedActuator("fann", "serial/{device}/fann", "%", 0.0, 100.0)
    text = "Nb;T1 acc 1000 ax=m/s2;T2 gyro 10 x=rad/s;S1 lidar 10 x,y,z;A1 fan % 0 100 0"
    fit, said = met(text, Wanted((IMU, own, lidar, elsewhere), (FAN, fann)), caplog)
    assert said == [
        "ERROR serial.bench: the board has no stream imu; it has acc, gyro",
        "ERROR serial.bench: the board has no scan stream top; it has lidar",
        "ERROR serial.bench: the board has no actuator fann; it has fan",
    ]
    assert (fit.bars("serial/bench/fann"), fit.bars("serial/bench/fan")) == ("no_actuator", "")
    fit.meet(schema.parse(""))  # gone: whether the next one has it is not known
    assert fit.bars("serial/bench/fann") == ""


def test_an_actuator_with_less_room_or_another_unit(caplog):
    fit, said = met("Nb;A1 fan % 0 80 0", Wanted((), (FAN,)), caplog)
    text = "WARNING serial.bench: actuator fan takes 0 to 80; actuators.fan says min = 0, max = 100: commands beyond are withheld"
    assert (said, fit.bars("serial/bench/fan")) == ([text], "")
    fit, said = met("Nb;A1 fan rpm 0 3000 0", Wanted((), (FAN,)), caplog)
    assert (len(said), fit.bars("serial/bench/fan")) == (1, "unit")


def test_units_of_the_example_are_known():
    example = next(line for line in protocol.SCHEMA_GRAMMAR.splitlines() if line.startswith("T1"))
    (stream,) = schema.parse(re.split(r"\s{2,}", example)[0]).telemetry.values()
    assert {normal(unit) == unit for unit in stream.channels.values()} == {True}
    assert [normal(one) for one in ("m/s2", "rad/s2", "Nm", "\u00b0C", "lsb", "")] == ["m/s^2", "rad/s^2", "N*m", "degC", "lsb", ""]


def test_a_line_of_a_receiver_takes_no_commands_and_that_is_said(caplog):
    board = Board("gps", SerialLine("serial:///dev/null?protocol=nmea"), lambda _message: None)
    assert [board.bars("serial/gps/fan"), board.bars("serial/gps/fan")] == ["no_actuator"] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "serial.gps: a command was not obeyed: serial/gps/fan: a line of this protocol takes none; further ones are counted"
    ]


@pytest.fixture
def broker(tmp_path: Path):
    broker = Mosquitto(tmp_path).start()
    yield broker
    broker.close()


def last_status(file: Path, broker: Mosquitto, is_enough) -> dict:
    """Runs the daemon of a file until its status is enough, or it had time."""
    reports: list[dict] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: reports.append(json.loads(message.payload))
    client.connect("127.0.0.1", broker.port)
    client.subscribe("edge/rig/status")
    client.loop_start()
    runtime = daemon(file)

    def watch() -> None:
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s and not (reports and is_enough(reports[-1])):
            time.sleep(0.05)
        runtime.stop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert runtime.run() == 0
    finally:
        watcher.join(WAIT_S)
        client.loop_stop()
    return reports[-1]


@needs_mosquitto
@pytest.mark.timeout(120)
def test_a_daemon_uses_no_block_of_a_board_with_three_channels(shim: Path, tmp_path: Path, broker, caplog):
    """Rows of three, cut anew by two, were taken for rows."""
    board = PtyBoard(CBoard(shim, schema="Nrig;T1 imu 1000 ax=g,ay=g,az=g;A1 brake % 0 100 100"), rows=2, channels=3)
    file = tmp_path / "rig.toml"
    file.write_text(FILE.replace('ax = "g"', 'ax = "g", ay = "g"').format(url=broker.url, path=board.path))
    with caplog.at_level(logging.INFO):
        stream = last_status(file, broker, lambda report: report["streams"]["imu"]["received"] > 100)["streams"]["imu"]
    board.unplug()
    assert stream["used"] == 0
    assert stream["received"] == stream["invalid"]["channels"] > 100
    said = [record.getMessage() for record in caplog.records]
    assert sum("has the channels ax, ay, az; streams.imu.channels says ax, ay" in line for line in said) == 1


@needs_mosquitto
@pytest.mark.timeout(120)
def test_a_daemon_says_that_a_board_has_no_such_actuator(shim: Path, tmp_path: Path, broker, caplog):
    """Its commands were withheld as if the line were down, and nothing was said."""
    board = PtyBoard(CBoard(shim, schema="Nrig;T1 imu 1000 ax=g;A1 fan % 0 100 100"))
    file = tmp_path / "rig.toml"
    file.write_text(FILE.replace("{{device}}/brake", "{{device}}/fann").format(url=broker.url, path=board.path))
    with caplog.at_level(logging.INFO):
        report = last_status(file, broker, lambda report: report["commands"]["withheld"].get("no_actuator", 0) > 10)
    board.unplug()
    assert report["commands"]["withheld"]["no_actuator"] > 10
    said = [record.getMessage() for record in caplog.records]
    assert sum("serial.one: the board has no actuator fann; it has fan" in line for line in said) == 1
