"""`edge bridge` between a broker that is slow, deaf or wants a password, and a board that is not there."""

import shutil
import socket
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_bridge.errors import LinkError
from firmware_bridge.gateway import OUT_MAX, Gateway
from firmware_bridge.messages import Hello
from tests.bridge.pty_board import plug
from tests.broker import Mosquitto, needs_mosquitto

WAIT_S = 20
PASSWD = shutil.which("mosquitto_passwd")


def until(gateway: Gateway, is_done) -> None:
    end_s = time.monotonic() + WAIT_S
    while not is_done() and time.monotonic() < end_s:
        gateway.step()
    assert is_done(), gateway.counts


@contextmanager
def made(url: str, broker: str):
    gateway = Gateway(url, broker, "rig")
    try:
        yield gateway
    finally:
        gateway.stop()
        gateway.run()


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1e400", "NaN", '"x"', "[1]"])
def test_a_value_that_is_no_number_of_the_actuator_is_refused(tmp_path: Path, value: str):
    with made(str(tmp_path / "none"), "mqtt://127.0.0.1:1") as gateway:
        gateway.topics.learn(Hello(1, 1, 0, 1024, 1, "A1 brake % 0 100 0"))
        payload = b'{"value": ' + value.encode() + b', "ttl_ms": 100}'
        gateway._on_message(None, None, SimpleNamespace(topic="serial/rig/brake/set", retain=False, payload=payload))
        assert gateway.counts["refused_commands"] == 1


def test_a_broker_that_does_not_answer_holds_nothing_up(shim: Path):
    """Its port takes no connection, as behind a firewall: connecting ends after 5 s only."""
    board, fillers = plug(shim), []
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            fillers.append(socket.socket())
            fillers[-1].setblocking(False)
            fillers[-1].connect_ex(deaf.getsockname())
        with made(board.path, f"mqtt://127.0.0.1:{deaf.getsockname()[1]}") as gateway:
            longest_s, end_s = 0.0, time.monotonic() + 4
            while time.monotonic() < end_s:
                start_s = time.monotonic()
                gateway.step()
                longest_s = max(longest_s, time.monotonic() - start_s)
            assert longest_s < 2
            assert gateway.port.session.is_ready
    for filler in fillers:
        filler.close()
    board.unplug()


def test_what_waits_for_a_broker_that_does_not_read_is_bounded_and_counted(tmp_path: Path):
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        with made(str(tmp_path / "none"), f"mqtt://127.0.0.1:{listener.getsockname()[1]}") as gateway:
            gateway.step()
            with closing(listener.accept()[0]) as peer:
                peer.recv(1000)
                peer.sendall(bytes([0x20, 2, 0, 0]))
                until(gateway, gateway._mqtt.is_connected)
                for _ in range(60_000):
                    gateway._publish("x", b"z" * 300)
                assert len(gateway._mqtt._out_packet) <= OUT_MAX + 10
                assert gateway.counts["queue_full"] > 10_000
            until(gateway, lambda: not gateway._mqtt.is_connected())  # nothing old goes to the next broker
            until(gateway, lambda: not gateway._waiting)


@needs_mosquitto
def test_availability_says_whether_the_board_is_there(shim: Path, tmp_path: Path):
    broker, words = Mosquitto(tmp_path).start(), []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: words.append(message.payload)
    client.connect("127.0.0.1", broker.port)
    client.subscribe("serial/rig/availability")
    client.loop_start()
    device = tmp_path / "tty"
    try:
        with made(str(device), broker.url) as gateway:
            until(gateway, lambda: words == [b"no_board"])
            board = plug(shim)
            device.symlink_to(board.path)
            until(gateway, lambda: words[1:] == [b"online"])
            assert "brake" in gateway.topics.schema.actuators
            board.unplug()
            until(gateway, lambda: words[2:] == [b"no_board"])
            assert gateway.topics.schema.actuators == {}  # nothing to be commanded
    finally:
        client.disconnect()
        client.loop_stop()
        broker.close()


@needs_mosquitto
@pytest.mark.skipif(PASSWD is None, reason="needs mosquitto_passwd: apt-get install mosquitto")
def test_a_user_and_a_password_in_the_address_are_used(tmp_path: Path):
    passwords = tmp_path / "passwords"
    subprocess.run([PASSWD, "-b", "-c", passwords, "us@er", "p:a/ss"], check=True, timeout=30)
    passwords.chmod(0o644)
    broker = Mosquitto(tmp_path, extra=f"allow_anonymous false\npassword_file {passwords}").start()
    try:
        with made(str(tmp_path / "none"), broker.url.replace("//", "//us%40er:p%3Aa%2Fss@")) as gateway:
            until(gateway, gateway._mqtt.is_connected)
        with made(str(tmp_path / "none"), broker.url) as gateway:
            end_s = time.monotonic() + 2
            while time.monotonic() < end_s:
                gateway.step()
            assert not gateway._mqtt.is_connected()
    finally:
        broker.close()


@pytest.mark.parametrize("url", ["mqtt://h:0", "mqtt://h:99999", "mqtt://u:secret", "mqtts://h", "mqtt://u:secret@h/x", "mqtt://:secret@h"])
def test_an_address_that_cannot_be_used_is_refused_without_telling_the_password(url: str):
    with pytest.raises(LinkError, match="write mqtt://") as found:
        Gateway("/dev/null", url, "rig")
    assert "secret" not in str(found.value)
