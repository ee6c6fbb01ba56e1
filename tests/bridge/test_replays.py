"""Frames that somebody recorded and plays again: after a lost line, after a reset, after many; and what a counter of boots counts."""

from pathlib import Path

import pytest

from firmware_bridge import session as session_module
from firmware_bridge.messages import Status
from tests.bridge.c_board import BOOT
from tests.bridge.delayed import DelayedRig

KEY = bytes(range(32))


def test_a_hello_of_this_boot_is_not_believed_again_after_an_unplug(shim: Path):
    rig = DelayedRig(shim, KEY).run(1000)
    recorded = b"".join(rig.said)
    rig.run(3000)
    rig.session.lose(rig.now_us)
    assert rig.session.feed(recorded, rig.now_us) == []
    assert rig.session.hello is None
    rig.run(500)  # the board itself is met again, and obeys at once
    rig.command(40.0, 500_000)
    rig.run(100)
    assert [outcome.status for outcome in rig.outcomes] == [Status.OK]
    assert rig.board.counters()["replayed"] == 0
    assert rig.session.boots == 1  # the same boot, however often its cable was out


def test_a_hello_of_the_boot_before_is_not_believed_again(shim: Path):
    rig = DelayedRig(shim, KEY).run(1000)
    recorded = b"".join(rig.said)
    rig.board.start(0x99)
    rig.run(2000)
    assert rig.session.hello.boot_id == 0x99
    assert rig.session.boots == 2
    rig.session.feed(recorded, rig.now_us)
    assert rig.session.hello.boot_id == 0x99
    rig.session.lose(rig.now_us)
    rig.session.feed(recorded, rig.now_us)
    assert rig.session.hello is None


def test_two_boards_can_take_turns_on_one_line(shim: Path):
    rig = DelayedRig(shim, KEY).run(1000)
    first = rig.board
    second = type(first)(shim, key=KEY, boot_id=7)
    for number, board in enumerate((second, first, second)):
        rig.board = board
        rig.session.lose(rig.now_us)
        rig.run(1000)
        rig.command(float(number), 500_000)
        rig.run(100)
    assert [outcome.status for outcome in rig.outcomes] == [Status.OK] * 3


def test_counters_are_forgotten_only_with_the_number_of_their_session(shim: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session_module, "BOOTS_KEPT", 3)
    rig = DelayedRig(shim, KEY).run(1000)
    recorded, numbers = b"".join(rig.said), {rig.session.session}
    for boot in range(8):
        rig.board.start(100 + boot)
        rig.run(1500)
        assert rig.session.hello.boot_id == 100 + boot
        numbers.add(rig.session.session)
        rig.session.feed(recorded, rig.now_us)
        assert rig.session.hello.boot_id == 100 + boot
    assert len(numbers) == 3
    rig.command(40.0, 500_000)
    rig.run(100)
    assert rig.outcomes[-1].status == Status.OK
    assert BOOT not in range(100, 108)
