"""The C code's word on commands: order by actuator, memory, signs of life; and what it is built with."""

import subprocess
from pathlib import Path

import pytest

from firmware_bridge import schema
from firmware_bridge.errors import LinkError
from firmware_bridge.framing import Decoder, encode, header
from firmware_bridge.messages import Command, CommandAck, Hello, Status
from firmware_bridge.protocol import REMEMBERED
from tests.bridge.c_board import BOOT, INCLUDE, SOURCES, WARNINGS, CBoard
from tests.bridge.delayed import DelayedRig

LATE_US = 900_000


class Teller:
    """Sends commands to a board and reads what it says to each."""

    def __init__(self, shim: Path) -> None:
        self.board, self._seq = CBoard(shim), 0
        self.board.now_us = 1_000_000

    def tell(self, number: int, actuator: int = 1, session: int = 1, left_us: int = LATE_US, boot: int = BOOT) -> CommandAck:
        made = Command(self.board.now_us + left_us, boot & 0xFFFF_FFFF, session, number, float(number % 90), actuator, 0)
        self._seq += 1
        self.board.receive(encode(header(Command.CODE, 2, 0, self._seq & 0xFFFF, 0, made.pack())))
        return next(CommandAck.unpack(f.payload) for f in Decoder().feed(self.board.take()) if f.type == CommandAck.CODE)

    def status(self, *words: int, **settings: int) -> int:
        return self.tell(*words, **settings).status


def test_a_command_whose_first_frame_was_lost_is_obeyed_after_one_for_another_actuator(shim: Path):
    rig = DelayedRig(shim).run(1000)
    rig.is_lost = lambda _data: True
    rig.command(40.0, 500_000, actuator=1)
    rig.is_lost = lambda _data: False
    rig.run(5)
    rig.command(1.0, 500_000, actuator=2)
    rig.run(600)
    assert {outcome.number: outcome.status for outcome in rig.outcomes} == {1: Status.OK, 2: Status.OK}
    assert rig.board.actuators()[1:3] == [40.0, 1.0]


def test_order_is_kept_by_actuator_and_session(shim: Path):
    teller = Teller(shim)
    assert [teller.status(5, 1), teller.status(4, 2), teller.status(3, 1), teller.status(7, 2), teller.status(6, 2)] == [0, 0, 3, 0, 3]
    assert teller.status(3, 1, session=2) == Status.OK
    assert teller.board.counters()["obeyed"] == 4


def test_no_command_is_obeyed_twice_however_many_came_between(shim: Path):
    """Numbers in any order for four actuators: whatever was obeyed once is never obeyed again, remembered or not."""
    teller = Teller(shim)
    order = [*range(3, 40), 2, 41, 1, 45, 40, *range(46, 70), 43, 44, 42]
    for number in order:
        teller.status(number, number % 4)
    obeyed = teller.board.counters()["obeyed"]
    assert obeyed >= 61
    for number in order * 2:
        teller.status(number, number % 4)
    assert teller.board.counters()["obeyed"] == obeyed


def test_a_full_memory_refuses_what_is_older_than_all_in_it(shim: Path):
    teller = Teller(shim)
    assert {teller.status(number, 1) for number in range(10, 10 + REMEMBERED)} == {Status.OK}
    assert teller.status(9, 2) == Status.OLD  # never seen, but whether it was cannot be known
    assert teller.status(10 + REMEMBERED, 2) == Status.OK
    assert teller.status(10, 3) == Status.OLD  # gave way just now
    assert teller.tell(11, 1).repeats == 1
    assert teller.status(1, 2, session=2) == Status.OK  # another host: takes the places of the one before


@pytest.mark.parametrize("start", [2**31 - 8, 2**32 - 8])
def test_numbers_wrap(shim: Path, start: int):
    teller = Teller(shim)
    assert {teller.status((start + i) & 0xFFFF_FFFF, 1) for i in range(40)} == {Status.OK}
    assert teller.status(start, 1) == Status.OLD


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"boot": 0xDEAD}, Status.WRONG_BOOT), ({"left_us": -1}, Status.EXPIRED), ({"left_us": 10**9}, Status.TOO_FAR)],
)
def test_a_command_that_cannot_be_obeyed_is_no_sign_of_life(shim: Path, settings: dict[str, int], status: Status):
    teller = Teller(shim)
    teller.status(1)
    teller.board.now_us += 500_000
    assert teller.status(2, **settings) == status
    assert teller.board.host_age() == 500_000
    assert teller.status(3) == Status.OK
    assert teller.board.host_age() == 0


def test_a_schema_that_does_not_fit_is_told_and_not_cut(tmp_path: Path):
    target = tmp_path / "small.so"
    flags = ["-O1", "-DEB_MAX_PAYLOAD=64", "-DEB_REMEMBERED=1", "-shared", "-fPIC"]
    subprocess.run(["gcc", *WARNINGS, *flags, *SOURCES, "-o", target], check=True, timeout=100)
    fits, longer = "T1 imu 1000 ax=g".ljust(40, "x"), "T1 imu 1000 ax=g".ljust(41, "x")
    for text, returned in ((fits, 1), (longer, 0)):
        board = CBoard(target, schema=text)
        assert board.fits == returned
        board.poll()
        hello = next(Hello.unpack(frame.payload) for frame in Decoder().feed(board.take()) if frame.type == Hello.CODE)
        assert (hello.text == text) == bool(returned)
    with pytest.raises(LinkError, match="cannot tell its schema: over EB_MAX_PAYLOAD"):
        schema.parse(hello.text)


@pytest.mark.parametrize("setting", ["EB_MAX_PAYLOAD=63", "EB_MAX_PAYLOAD=4097", "EB_REMEMBERED=0", "EB_REMEMBERED=256"])
def test_a_setting_that_cannot_be_ends_the_build(tmp_path: Path, setting: str):
    build = ["gcc", "-std=c99", f"-I{INCLUDE}", f"-D{setting}", "-fsyntax-only", SOURCES[0]]
    told = subprocess.run(build, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert told.returncode == 1
    assert "eb_check_" in told.stderr
