"""Serial lines in what a running daemon says of itself: a board and a receiver on ptys that come, go quiet, are unplugged and return."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
import tty
from contextlib import suppress
from pathlib import Path

import pytest

from tests.bridge.c_board import compile_shim
from tests.bridge.pty_board import plug
from tests.broker import needs_mosquitto
from tests.integration.test_daemon import Edge, Peer, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]

FILE = """
name = "liner"
budget_ms = 200
tick_ms = 10

[broker]
retry_min_s = 0.1
retry_max_s = 0.2

[serial.rig]
url = "serial://{folder}/board?baud=921600"

[serial.gps]
url = "serial://{folder}/receiver?baud=9600&protocol=nmea"

[streams.imu]
topic = "serial/{{device}}/imu"
channels = {{ ax = "g" }}
rate_hz = 500
[[features]]
stream = "imu"
channels = ["ax"]
window = 4
stats = ["mean"]
"""
FIX = b"$GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,*5B\r\n"


class Receiver:
    """A pty that says a fix ten times a second, or nothing."""

    def __init__(self, name: Path) -> None:
        self.is_speaking, self._name = True, name
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        name.symlink_to(os.ttyname(self._slave))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            with suppress(BlockingIOError):
                os.write(self._master, FIX if self.is_speaking else b"")

    def unplug(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._name.unlink()
        os.close(self._slave)
        os.close(self._master)


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return compile_shim(tmp_path_factory.mktemp("shim"), "-O1")


@pytest.fixture
def peer(broker):
    peer = Peer(broker.port)
    yield peer
    peer.close()


@pytest.fixture
def edge(tmp_path, broker, peer):
    edge = Edge(tmp_path, broker, FILE.format(folder=tmp_path))
    yield edge
    edge.close()


def board_at(folder, shim):
    board = plug(shim)
    (folder / "board").symlink_to(board.path)
    return board


def line(peer, name):
    found = peer.json("liner/health")
    return found[-1]["serial"][name] if found else {"state": ""}


def becomes(peer, name, state):
    """Wait for a state; it must have begun since this call, as its since-when says."""
    before = time.time_ns()
    found = until(lambda: (one := line(peer, name))["state"] == state and one, f"{name} is {state}: {line(peer, name)}")
    assert before - 2 * 10**9 < found["since_ns"] <= time.time_ns()
    return found


def test_a_board_that_is_not_there_comes_falls_silent_goes_and_comes_back_is_told_each_time_with_its_beginning(tmp_path, shim, peer, edge):
    assert "No such file" in until(lambda: (one := line(peer, "rig"))["state"] == "closed" and one)["text"]
    until(lambda: edge.noted("serial.rig closed ("), "the service manager's line")
    board = board_at(tmp_path, shim)
    first = becomes(peer, "rig", "ok")
    assert "rig" in first["text"]
    board._stop.set()  # no power; the port stays
    quiet = becomes(peer, "rig", "no_board")
    (tmp_path / "board").unlink()
    board.unplug()
    gone = becomes(peer, "rig", "closed")
    assert first["since_ns"] < quiet["since_ns"] < gone["since_ns"]
    assert peer.json("liner/health")[-1]["state"] == "degraded"
    board = board_at(tmp_path, shim)
    again = becomes(peer, "rig", "ok")
    assert again["since_ns"] > gone["since_ns"]
    (tmp_path / "board").unlink()
    board.unplug()


def test_a_line_without_a_board_and_one_that_another_process_holds_are_states_of_their_own(tmp_path, peer, edge):
    until(lambda: line(peer, "rig")["state"] == "closed")
    master, slave = os.openpty()
    try:
        fcntl.flock(slave, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (tmp_path / "board").symlink_to(os.ttyname(slave))
        assert "another process holds it" in becomes(peer, "rig", "refused")["text"]
        fcntl.flock(slave, fcntl.LOCK_UN)
        assert "nobody answers" in becomes(peer, "rig", "no_board")["text"]
        assert edge.process.poll() is None
    finally:
        (tmp_path / "board").unlink()
        os.close(slave)
        os.close(master)


def test_a_line_that_a_reload_takes_away_is_no_part_any_longer_and_the_other_goes_on(tmp_path, peer, edge):
    until(lambda: line(peer, "gps")["state"] == "closed")
    text = edge.file.read_text()
    start = text.index("[serial.gps]")
    edge.file.write_text(text[:start] + text[text.index("[streams.imu]") :])
    edge.process.send_signal(signal.SIGHUP)
    until(lambda: list(peer.json("liner/health")[-1]["serial"]) == ["rig"])
    assert line(peer, "rig")["state"] == "closed"


def test_a_receiver_is_well_while_messages_come_and_edge_status_shows_every_line(tmp_path, broker, shim, peer, edge):
    board, receiver = board_at(tmp_path, shim), Receiver(tmp_path / "receiver")
    becomes(peer, "gps", "ok")
    until(lambda: peer.json("liner/health")[-1]["state"] == "ok", "all lines and the stream are well")
    receiver.is_speaking = False
    assert "nobody answers" in becomes(peer, "gps", "no_board")["text"]
    assert peer.json("liner/health")[-1]["state"] == "degraded"
    receiver.unplug()
    becomes(peer, "gps", "closed")
    command = [sys.executable, "-m", "edge", "status", "--url", broker.url, "--name", "liner", "--seconds", "5"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    rows = {" ".join(row.split()[:3]) for row in shown.stdout.splitlines()}
    assert {"serial rig ok", "serial gps closed"} <= rows, shown.stdout
    assert shown.returncode == 1
    receiver = Receiver(tmp_path / "receiver")
    becomes(peer, "gps", "ok")
    receiver.unplug()
    (tmp_path / "board").unlink()
    board.unplug()
