"""A line that goes at a bad moment: a number that is used again, another board under the old name, faults while it opens and closes."""

import os
import selectors
import termios
import time
import tty
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial

from firmware_bridge import line as line_module
from firmware_bridge.address import parse
from firmware_bridge.line import Line
from firmware_bridge.link import Link, now_us
from firmware_bridge.messages import HelloRequest
from tests.bridge.pty_board import plug

WAIT_S = 20


def terminal() -> tuple[int, int, str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    return master, slave, os.ttyname(slave)


def until(link: Link, is_done) -> None:
    end_s = time.monotonic() + WAIT_S
    while not is_done() and time.monotonic() < end_s:
        link.step(0.05)
    assert is_done(), link.port.report(now_us())


def test_a_line_that_comes_back_with_the_same_number_is_heard(tmp_path: Path):
    name = tmp_path / "tty"
    master, slave, path = terminal()
    name.symlink_to(path)
    with Link(str(name), by_id=tmp_path / "none") as link:
        link.step(0.05)
        number = link.port.line.fileno()
        os.close(master)
        os.close(slave)
        link.port.session.send(HelloRequest(1), now_us())  # a write finds that it is gone, between two steps
        assert not link.port.line.is_open
        master, slave, path = terminal()
        name.unlink()
        name.symlink_to(path)
        time.sleep(0.2)  # so that the next step opens it, and none sees it closed
        until(link, lambda: link.port.line.is_open)
        assert link.port.line.fileno() == number
        os.write(master, b"x" * 100)
        until(link, lambda: link.port.line.read_bytes == 100)
    os.close(master)
    os.close(slave)


def test_a_selector_that_is_shared_can_be_given_the_number_of_a_line_that_went(tmp_path: Path):
    master, slave, path = terminal()
    with Link(path, by_id=tmp_path / "none") as link, selectors.DefaultSelector() as shared:
        link.port.poll(shared, "line", now_us())
        assert len(shared.get_map()) == 1
        os.close(master)
        link.port.session.send(HelloRequest(1), now_us())
        assert len(shared.get_map()) == 0
    os.close(slave)


def test_a_write_that_finds_the_line_gone_ends_the_session_too(shim: Path, tmp_path: Path):
    board = plug(shim)
    with Link(board.path, by_id=tmp_path / "none") as link:
        assert link.wait_ready(WAIT_S)
        board.unplug()
        while link.port.line.is_open:
            link.port.session.command(1, 1.0, 500_000, now_us(), print)
        link.step(0)
        assert link.hello is None
        assert not link.port.session.is_ready


def test_another_board_under_the_old_name_is_not_taken(tmp_path: Path):
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (master, slave, path), (other_master, other_slave, other_path) = terminal(), terminal()
    name = tmp_path / "ttyUSB0"
    name.symlink_to(path)
    (by_id / "usb-board-a").symlink_to(path)
    (by_id / "usb-board-b").symlink_to(other_path)
    line = Line(parse(str(name)), by_id)
    assert line.open(0)
    (by_id / "usb-board-a").unlink()
    line.drop("unplugged", 0)
    name.unlink()
    name.symlink_to(other_path)
    assert not line.open(10**7)
    assert "usb-board-a" in line.last_error
    (by_id / "usb-board-a").symlink_to(path)
    assert line.open(10**8)
    assert os.ttyname(line.fileno()) == path
    line.close()
    for number in (master, slave, other_master, other_slave):
        os.close(number)


@pytest.mark.parametrize("step", ["_update_dtr_state", "_reset_input_buffer", "set_low_latency_mode"])
def test_a_line_that_goes_while_it_opens_is_a_fault_of_the_line(monkeypatch: pytest.MonkeyPatch, step: str):
    master, slave, path = terminal()
    whole = getattr(serial.Serial, step)

    def pulled(self, *words) -> None:
        os.close(master)
        whole(self, *words)
        raise termios.error(5, "Input/output error")

    monkeypatch.setattr(serial.Serial, step, pulled)
    line = Line(parse(path))
    numbers = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else set()
    assert line.open(0) == (step == "set_low_latency_mode")  # which nothing depends on: the next read finds that it is gone
    if not line.is_open:
        assert line.last_error.endswith("unplugged")
        assert not numbers or len(os.listdir("/proc/self/fd")) == len(numbers) - 1  # the master
    line.close()
    os.close(slave)


def test_what_waits_in_the_kernel_is_thrown_away_before_a_line_is_closed(monkeypatch: pytest.MonkeyPatch):
    """A UART whose CTS is low holds close() for 30 s otherwise; a pty cannot, so the order of the calls is looked at."""
    calls = []
    flush, close = termios.tcflush, serial.Serial.close
    monkeypatch.setattr(termios, "tcflush", lambda number, queue: (calls.append(queue), flush(number, queue)))
    monkeypatch.setattr(serial.Serial, "close", lambda self: (calls.append("close"), close(self)))
    for end in (lambda line: line.close(), lambda line: line.drop("unplugged", 0)):
        master, slave, path = terminal()
        line = Line(parse(path))
        assert line.open(0)
        calls.clear()
        end(line)
        assert calls[:2] == [termios.TCOFLUSH, "close"]
        os.close(master)
        os.close(slave)


def test_errors_of_a_uart_are_counted_where_the_driver_tells(monkeypatch: pytest.MonkeyPatch):
    """A pty has none; what a UART's driver answers is made here."""
    master, slave, path = terminal()
    line = Line(parse(path))
    line.open(0)
    assert line.errors() == {}
    line.close()
    told = [0, 0, 0, 0, 9, 9, 5, 0, 2, 0, 0, *[0] * 9]
    monkeypatch.setattr(
        line_module, "fcntl", SimpleNamespace(ioctl=lambda _fd, _what, _room: b"".join(n.to_bytes(4, "little") for n in told))
    )
    assert line.open(10**7)
    assert line.errors() == {"framing": 0, "overrun": 0, "parity": 0, "breaks": 0, "buffer_overrun": 0}
    told[6], told[9] = 12, 1
    assert (line.errors()["framing"], line.errors()["breaks"]) == (7, 1)
    line.drop("unplugged", 0)
    told[6], told[9] = 0, 0  # a converter that was plugged in anew counts from zero
    assert line.open(10**8)
    told[6] = 3
    assert (line.errors()["framing"], line.errors()["breaks"]) == (10, 1)
    line.close()
    os.close(master)
    os.close(slave)
