"""The demo's MQTT broker: a real mosquitto where there is one, amqtt otherwise. Loopback only."""

import contextlib
import getpass
import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from edge.cli.demo.children import Child, ChildFailed, Children, python_module
from edge.errors import TransportError

Kind = Literal["auto", "mosquitto", "amqtt"]
HOST = "127.0.0.1"
_START_S = 20.0  # amqtt on a slow single-board computer imports for seconds
_PORT_TRIES = 5  # a free port can be taken by someone else before mosquitto binds it

# persistence off: a demo leaves nothing behind. set_tcp_nodelay: without it small messages wait for one another.
_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
set_tcp_nodelay true
persistence false
user {user}
log_dest stderr
log_type error
log_type warning
"""


class Broker:
    """A running broker.

    Attributes:
        kind: ``mosquitto`` or ``amqtt``.
        port: TCP port on 127.0.0.1.
        child: its process.
    """

    def __init__(self, kind: str, port: int, child: Child) -> None:
        self.kind = kind
        self.port = port
        self.child = child

    @property
    def url(self) -> str:
        """As a pipeline file's ``broker.url``."""
        return f"mqtt://{HOST}:{self.port}"


def start_broker(children: Children, folder: Path, *, kind: Kind, port: int, poll: Callable[[], None]) -> Broker:
    """Starts a broker and waits until it accepts connections.

    Args:
        children: takes the process.
        folder: for its configuration.
        kind: which one; ``auto``: mosquitto when it is installed, amqtt otherwise.
        port: TCP port, or 0 for a free one.
        poll: called while waiting; may raise to give up.

    Raises:
        TransportError: the port is in use, or the broker asked for is not installed.
        ChildFailed: it started and ended.
    """
    if port:
        _refuse_used(port)
    mosquitto = find_mosquitto()
    if kind == "mosquitto" and mosquitto is None:
        raise TransportError("mosquitto is neither on the PATH nor in /usr/sbin; install it, or use --broker amqtt")
    if mosquitto is not None and kind != "amqtt":
        return _start_mosquitto(children, folder, mosquitto, port, poll)
    return _start_amqtt(children, port, poll)


def find_mosquitto() -> str | None:
    """Path of the mosquitto broker, or None. Debian keeps it in /usr/sbin, which is not on a user's PATH."""
    return shutil.which("mosquitto") or shutil.which(
        "mosquitto", path=os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))
    )


def _start_mosquitto(children: Children, folder: Path, program: str, port: int, poll: Callable[[], None]) -> Broker:
    for last in [*[False] * (_PORT_TRIES - 1), True]:
        chosen = port or _free_port()
        config = folder / "mosquitto.conf"
        config.write_text(_MOSQUITTO.format(port=chosen, host=HOST, user=getpass.getuser()))
        child = children.start("mosquitto broker", [program, "-c", str(config)])
        try:
            _wait_listening(child, chosen, poll)
        except ChildFailed:
            if port or last:
                raise
            children.forget(child)
        else:
            return Broker("mosquitto", chosen, child)
    raise AssertionError("unreachable")


def _start_amqtt(children: Children, port: int, poll: Callable[[], None]) -> Broker:
    if importlib.util.find_spec("amqtt") is None:
        raise TransportError("no MQTT broker found: install mosquitto, or the demo extra (pip install 'edge-runtime[demo]')")
    child = children.start("amqtt broker", python_module("edge.cli.demo.amqtt_broker", str(port)), talks=True)
    os.set_blocking(child.stdout.fileno(), False)
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        poll()
        child.check()
        line = child.stdout.readline()
        if line:
            return Broker("amqtt", int(line), child)
        time.sleep(0.01)
    raise TransportError(f"the amqtt broker did not start within {_START_S:.0f} s")


def _wait_listening(child: Child, port: int, poll: Callable[[], None]) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        poll()
        child.check()
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
            child.check()  # the port answers, but is it ours?
            return
        time.sleep(0.01)
    raise TransportError(f"the mosquitto broker did not listen within {_START_S:.0f} s")


def _refuse_used(port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
    except OSError as error:
        raise TransportError(
            f"port {port} on {HOST} cannot be used: {error.strerror}; choose another with --port, or leave it out"
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
