import os
import time
from pathlib import Path

import pytest

from firmware_bridge import schema
from firmware_bridge.errors import LinkError
from firmware_bridge.link import Link
from firmware_bridge.messages import Status, Telemetry
from tests.bridge.pty_board import plug

WAIT_S = 20


def until(link: Link, is_done) -> None:
    end_s = time.monotonic() + WAIT_S
    while not is_done() and time.monotonic() < end_s:
        link.step(0.05)
    assert is_done(), link.port.report(time.monotonic_ns() // 1000)


def test_messages_commands_and_parameters_over_a_terminal(shim: Path):
    board = plug(shim)
    try:
        with Link(f"serial://{board.path}?baud=921600") as link:
            assert link.wait_ready(WAIT_S)
            assert schema.parse(link.hello.text).actuators["brake"].number == 1
            numbers = []
            for received in link.messages(WAIT_S):
                numbers += [received.message.number] if isinstance(received.message, Telemetry) else []
                if len(numbers) == 50:
                    break
            assert numbers == list(range(numbers[0], numbers[0] + 50))
            outcome = link.command(1, 40.0, ttl_s=0.9)
            assert (outcome.status, outcome.value) == (Status.OK, 40.0)
            assert link.command(1, 101.0, ttl_s=0.9).status == Status.RANGE
            assert link.command(3, 1.0, ttl_s=5).status == Status.TOO_FAR
            assert board.board.actuators()[1] == 40.0
            assert link.parameter(1, 2.5, WAIT_S).value == 2.5
            assert link.parameter(1, None, WAIT_S).value == 2.5
            assert link.parameter(9, None, WAIT_S).status == Status.UNKNOWN
    finally:
        board.unplug()


def test_garbage_costs_nothing_but_itself(shim: Path):
    board = plug(shim)
    try:
        with Link(board.path) as link:
            assert link.wait_ready(WAIT_S)
            before = board.sent
            board.say += [os.urandom(300) for _ in range(20)]
            until(link, lambda: board.sent > before + 50 and not board.say)
            counts = link.port.session.counts()
            assert counts["lost"] == 0
            refused = counts["received"] - counts["used"]
            assert refused == sum(counts[name] for name in ("cobs", "short", "crc", "oversized", "length", "version"))
            assert refused > 0
    finally:
        board.unplug()


def test_a_board_that_comes_back_under_another_name_is_found_by_its_id(shim: Path, tmp_path: Path):
    board = plug(shim)
    stable = tmp_path / "usb-rig"
    stable.symlink_to(board.path)
    link = Link(board.path, by_id=tmp_path)
    try:
        assert link.wait_ready(WAIT_S)
        board.unplug()
        until(link, lambda: not link.port.line.is_open)
        assert not link.port.session.is_ready
        assert link.command(1, 1.0, 0.1) is None
        other = plug(shim, boot_id=77)
        board = other
        stable.unlink()
        stable.symlink_to(other.path)
        until(link, lambda: link.port.session.is_ready)
        assert link.hello.boot_id == 77
        assert link.port.line.opens == 2
        assert link.command(1, 5.0, 0.9).status == Status.OK
    finally:
        link.close()
        board.unplug()


def test_a_peer_that_does_not_drain_never_blocks_and_gets_no_old_command(shim: Path):
    board = plug(shim)
    try:
        with Link(board.path) as link:
            assert link.wait_ready(WAIT_S)
            board.stop_reading()
            session, line = link.port.session, link.port.line
            outcomes = []
            now_us = time.monotonic_ns() // 1000
            while session.command(1, 3.0, 50_000, now_us, outcomes.append) is not None:
                assert session.commands.number < 20_000
            assert line.refused_writes == 1
            until(link, lambda: len(outcomes) == session.commands.number - 1)  # the last one was refused at once
            assert {outcome.status for outcome in outcomes} == {None}
            board.is_reading = True
            until(link, lambda: not line.backlog)
            until(link, lambda: board.board.counters()["denied"] > 0)
            assert board.board.counters()["obeyed"] == 0
    finally:
        board.unplug()


def test_a_line_has_one_owner_and_says_what_is_wrong(shim: Path):
    board = plug(shim)
    try:
        with Link(board.path) as first, Link(board.path) as second:
            assert first.wait_ready(WAIT_S)
            until(second, lambda: second.port.line.last_error != "not tried yet")
            assert second.port.line.last_error.endswith("another process holds it")
    finally:
        board.unplug()
    for url, word in (
        ("serial:///dev/x?baud=fast", "baud must be a number"),
        ("serial:///dev/x?speed=1", "unknown option 'speed'"),
        ("tcp://h", "is no serial line"),
        ("serial:///dev/x?protocol=can", "protocol must be edge or nmea or mavlink"),
    ):
        with pytest.raises(LinkError, match=word):
            Link(url)


def test_three_megabaud_for_a_while_without_a_loss(shim: Path):
    from tests.bridge.flood import flood

    sent, used, counts, rate = flood(3.0)
    assert used == sent > 0
    assert counts["lost"] == 0 == counts["received"] - counts["used"]
    assert rate == 300_000
