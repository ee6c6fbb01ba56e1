"""The demo with real processes: both brokers, the player, the daemon, and no process left behind."""

import contextlib
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.cli.demo.broker import HOST, Broker, Kind, start_broker
from edge.cli.demo.children import ChildFailed, Children
from edge.errors import TransportError

KINDS: tuple[Kind, ...] = ("mosquitto", "amqtt")
pytestmark = pytest.mark.timeout(180)  # the first start of a daemon on a machine compiles kernels


@contextlib.contextmanager
def _broker(kind: Kind, folder: Path, port: int = 0) -> Iterator[Broker]:
    with Children(folder) as children:
        yield start_broker(children, folder, kind=kind, port=port, poll=lambda: None)


def _client(port: int, protocol: int = mqtt.MQTTv311, **handlers: Callable[..., Any]) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="test", protocol=mqtt.MQTTProtocolVersion(protocol))
    for name, handler in handlers.items():
        setattr(client, name, handler)
    client.will_set("edge/test/availability", "offline", 1, retain=True)
    client.connect(HOST, port)
    return client


def _loop_until(client: mqtt.Client, is_done: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not is_done() and time.monotonic() < until and client.loop(0.05) == mqtt.MQTT_ERR_SUCCESS:
        pass
    assert is_done()


@pytest.mark.parametrize("kind", KINDS)
def test_messages_pass_through_the_broker_in_order(kind: Kind, tmp_path: Path) -> None:
    heard: list[bytes] = []
    with _broker(kind, tmp_path) as broker:
        assert broker.kind == kind
        client = _client(
            broker.port,
            on_connect=lambda client, *_: client.subscribe([("watch/+/imu", 0), ("cmd/#", 1)]),
            on_subscribe=lambda client, *_: [client.publish("watch/a/imu" if i % 2 else "cmd/a", b"%d" % i, i % 2) for i in range(200)],
            on_message=lambda _client, _data, message: heard.append(message.payload),
        )
        _loop_until(client, lambda: len(heard) == 200)
        client.disconnect()
    for half in (0, 1):
        numbers = [int(payload) for payload in heard if int(payload) % 2 == half]
        assert numbers == sorted(numbers)


def test_amqtt_refuses_mqtt_5_at_once_also_with_a_will(tmp_path: Path) -> None:
    answers: list[str] = []
    with _broker("amqtt", tmp_path) as broker:
        client = _client(broker.port, mqtt.MQTTv5, on_connect=lambda _client, _data, _flags, reason, _props: answers.append(str(reason)))
        _loop_until(client, lambda: bool(answers))
    assert answers == ["Unsupported protocol version"]


@pytest.mark.parametrize(
    "rubbish", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\x7f", b"\x10\x0c\x00\x04MQTT", random.Random(64).randbytes(64)]
)
def test_amqtt_survives_rubbish(rubbish: bytes, tmp_path: Path) -> None:
    connected: list[bool] = []
    with _broker("amqtt", tmp_path) as broker:
        with socket.create_connection((HOST, broker.port)) as peer:
            peer.sendall(rubbish)
        client = _client(broker.port, on_connect=lambda *_: connected.append(True))
        _loop_until(client, lambda: bool(connected))
        broker.child.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_in_use_is_a_clear_error(kind: Kind, tmp_path: Path) -> None:
    with socket.socket() as taken, Children(tmp_path) as children:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TransportError, match=f"port {port} .* cannot be used"):
            start_broker(children, tmp_path, kind=kind, port=port, poll=lambda: None)


def test_a_child_that_ends_is_named_with_its_last_lines(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("model", [sys.executable, "-c", "import sys; sys.exit('no such sensor')"])
        child.wait_stopped(time.monotonic() + 30)
        with pytest.raises(ChildFailed, match=r"the model ended with exit code 1; its last lines:\n    no such sensor"):
            children.check()


def test_a_program_that_is_not_there_is_a_failed_child(tmp_path: Path) -> None:
    with Children(tmp_path) as children, pytest.raises(ChildFailed, match="No such file"):
        children.start("model", [str(tmp_path / "none")])


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    with Children(tmp_path) as children:
        child = children.start("deaf", [sys.executable, "-c", script], talks=True)
        assert child.stdout.readline() == b"up\n"
        child.ask_to_stop()
        assert child.wait_stopped(time.monotonic() + 0.1) == -signal.SIGKILL


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other kernels do not tell a child that its parent died")
def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, time; from edge.cli.demo.children import Children\n"
        "child = Children(pathlib.Path(sys.argv[1])).start('sleeper', ['sleep', '60']); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert _is_gone(pid)


def _is_gone(pid: int, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # nobody is left to collect it
            return True
        time.sleep(0.02)
    return False
