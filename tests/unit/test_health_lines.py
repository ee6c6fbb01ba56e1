"""Serial lines on real ptys and a clock of ours: states and their words, and bytes that nobody reads."""

import os
import selectors
import socket
import threading
import time
import tty

import pytest

from edge.build import daemon
from edge.daemon.lines import QUIET_NS, STUCK_NS, LineWatches
from edge.daemon.notify import Notifier
from edge.transport.serial import Board, Boards, SerialLine
from edge.transport.unread import unread_bytes
from tests.broker import free_port
from tests.integration.test_daemon import until

MS = 1_000_000
FIX = b"$GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,*5B\r\n"

PIPELINE = """
name = "liner"
budget_ms = 200
[broker]
url = "mqtt://127.0.0.1:{port}"
[serial.gps]
url = "serial://{path}?baud=9600&protocol=nmea"
[streams.fix]
topic = "serial/{{device}}/fix"
format = "json"
channels = {{ alt = "m" }}
[[features]]
stream = "fix"
channels = ["alt"]
window = 4
stats = ["mean"]
"""


class Rig:
    """One line in a selector of its own; ``turn`` is what the loop does, with or without reading."""

    def __init__(self, protocol):
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.now = time.monotonic_ns()
        self.selector = selectors.DefaultSelector()
        url = f"serial://{os.ttyname(self.slave)}?baud=9600&protocol={protocol}"
        self.boards = Boards({"one": SerialLine(url)}, lambda _raw: None, self.selector)
        self.lines = LineWatches(self.boards, ["one"])

    def turn(self, ms=0, *, reads=True):
        self.now += int(ms * MS)
        self.boards.poll(self.now)
        for key, mask in self.selector.select(0) if reads else ():
            key.data(mask)
        return self.lines.watches[0].look(self.now)

    def say(self, data):
        os.write(self.master, data)
        until(lambda: unread_bytes(self.slave) >= len(data))  # the kernel carries it to the other end in its own time

    def close(self):
        self.boards.close()
        self.selector.close()
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def rig(request):
    rig = Rig(request.param)
    yield rig
    rig.close()


@pytest.mark.parametrize("rig", ["nmea"], indirect=True)
def test_a_receiver_is_well_while_whole_messages_come_and_damaged_ones_are_bytes_that_nobody_understands(rig):
    assert rig.turn() == ("no_board", "it is open, nobody answers")
    rig.say(FIX)
    rig.turn()
    assert rig.turn(300)[0] == "ok"
    assert rig.turn(QUIET_NS / MS - 400)[0] == "ok"
    assert rig.turn(401) == ("no_board", "it is open, nobody answers")
    rig.say(FIX.replace(b"092725", b"092726"))
    rig.turn()
    assert rig.turn(300) == ("no_board", "it is open and bytes come, but nobody is understood")
    rig.say(FIX)
    rig.turn()
    assert rig.turn(300)[0] == "ok"


@pytest.mark.parametrize("rig", ["edge"], indirect=True)
def test_a_line_that_says_what_is_no_board_is_told_from_a_silent_one(rig):
    assert rig.turn() == ("no_board", "it is open, nobody answers")
    rig.say(b"login: ")
    assert rig.turn(10)[0] == "no_board"
    assert "bytes come" in rig.turn(10)[1]


@pytest.mark.parametrize("rig", ["edge"], indirect=True)
def test_a_line_that_this_user_may_not_open_is_refused_and_one_that_is_not_there_is_closed(rig):
    path, is_root = os.ttyname(rig.slave), os.geteuid() == 0
    os.chmod(path, 0)
    if is_root:
        os.seteuid(65534)
    try:
        state, words = rig.turn()
    finally:
        if is_root:
            os.seteuid(0)
    assert (state, words) == ("refused", f"{path}: Permission denied")
    os.chmod(path, 0o600)
    assert rig.turn(200)[0] == "no_board"
    os.close(rig.master)
    rig.master = os.dup(rig.slave)
    until(lambda: rig.turn(10)[0] == "closed", "unplugged")


@pytest.mark.parametrize("rig", ["edge", "nmea"], indirect=True)
def test_bytes_that_wait_on_a_line_for_a_second_are_work_that_is_not_done(rig):
    rig.turn()
    for _ in range(5):
        rig.turn(1000, reads=False)
        assert rig.lines.are_read(rig.now), "nothing waits"
    rig.say(FIX)
    rig.turn(reads=False)
    assert rig.lines.are_read(rig.now)
    rig.turn(STUCK_NS / MS - 1, reads=False)
    assert rig.lines.are_read(rig.now)
    rig.turn(2, reads=False)
    assert not rig.lines.are_read(rig.now), "it waits and nobody reads it"
    rig.turn(1)
    assert rig.lines.are_read(rig.now)


class Manager:
    """The service manager's socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))

    def is_fed(self, seconds):
        """Whether the watchdog is fed within so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if b"WATCHDOG=1" in self.socket.recv(4096):
                    return True
            except TimeoutError:
                break
        return False


@pytest.mark.timeout(120)
def test_a_daemon_on_serial_lines_only_is_not_fed_while_it_does_not_read_them(tmp_path, monkeypatch):
    """The real loop, without a broker; what is broken is only that it does not take what came while ``is_deaf``."""
    is_deaf, really = threading.Event(), Board.on_ready
    monkeypatch.setattr(Board, "on_ready", lambda *a: time.sleep(0.002) if is_deaf.is_set() else really(*a))
    manager = Manager(tmp_path / "notify")
    master, slave = os.openpty()
    tty.setraw(slave)
    file = tmp_path / "liner.toml"
    file.write_text(PIPELINE.format(path=os.ttyname(slave), port=free_port()))
    notifier = Notifier(str(tmp_path / "notify"), 100 * MS)
    runtime = daemon(file, notifier=notifier)
    fed = []

    def drive():
        fed.append(manager.is_fed(60))
        is_deaf.set()
        os.write(master, FIX)
        end = time.monotonic() + 30
        while (is_fed := manager.is_fed(1.0)) and time.monotonic() < end:  # a whole second, ten periods, goes by without
            pass
        fed.append(is_fed or manager.is_fed(1.0))
        is_deaf.clear()
        fed.append(manager.is_fed(30))
        runtime.stop()

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        assert runtime.run() == 0
    finally:
        driver.join(100)
        manager.socket.close()
        notifier._socket.close()
        os.close(slave)
        os.close(master)
    assert fed == [True, False, True]
