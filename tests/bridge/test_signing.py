"""How many forged, stale and recorded commands the C library obeys: the count that docs/bridge.md states."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_bridge import auth
from firmware_bridge.framing import encode, header
from firmware_bridge.messages import Command
from firmware_bridge.protocol import FLAG_SIGNED, FLAG_TO_BOARD
from tests.bridge.c_board import BOOT, ROOT, CBoard

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
EACH = 12_500  # of 8 kinds
START_US = 5_000_000


def line(
    counter: int, *, key: bytes = KEY, boot: int = BOOT, deadline_us: int = START_US + 900_000, number: int = 0, is_signed: bool = True
):
    """A command for 99 on actuator 1."""
    made = Command(deadline_us, boot & 0xFFFF_FFFF, 1, counter, 99.0, 1, 0)
    flags = FLAG_TO_BOARD | (FLAG_SIGNED if is_signed else 0)
    frame = header(Command.CODE, flags, 0, counter & 0xFFFF, 0, made.pack())
    if is_signed:
        frame += counter.to_bytes(4, "little")
        frame += auth.tag(key, is_to_board=True, boot_id=boot, session=0, data=frame)
    return frame


def bad(draw: random.Random, next_counter: Iterator[int]) -> Iterator[tuple[str, bytes]]:
    """Frames with a right CRC that must not be obeyed, and the counter each must be found in."""
    recorded = [line(k + 1) for k in range(100)]  # which the board took, and obeyed
    for _ in range(EACH):
        counter = next(next_counter)
        yield "replayed", draw.choice(recorded)
        yield "unsigned", line(counter, is_signed=False)
        yield "forged", line(counter, key=OTHER_KEY)
        yield "forged", line(counter, boot=BOOT ^ (1 << draw.randrange(64)))  # of another boot
        yield "forged", line(counter)[:-8] + draw.randbytes(8)
        changed = bytearray(draw.choice(recorded))
        changed[draw.randrange(16, len(changed) - 8)] ^= 1 << draw.randrange(8)
        yield "forged", bytes(changed)
        changed = bytearray(line(counter))
        changed[-9] ^= 0x80  # the counter raised afterwards
        yield "forged", bytes(changed)
        yield "denied", line(counter, deadline_us=START_US - draw.randrange(10**6))  # rightly signed, and stale


@pytest.mark.timeout(240)
def test_of_a_hundred_thousand_forged_stale_and_recorded_commands_none_is_obeyed(shim: Path):
    board = CBoard(shim, key=KEY)
    board.now_us = START_US
    for counter in range(1, 101):
        board.receive(encode(line(counter)))
    assert board.counters()["obeyed"] == 100
    told = dict.fromkeys(("replayed", "unsigned", "forged", "denied"), 0)
    for n, (reason, frame) in enumerate(bad(random.Random(3), iter(range(1000, 10**9)))):
        board.receive(encode(frame))
        told[reason] += 1
        if n % 200 == 0:
            board.take()  # or its memory is full and nothing is acknowledged
    counters = board.counters()
    assert sum(told.values()) == 8 * EACH == 100_000
    assert {reason: counters[reason] for reason in told} == told
    assert counters["obeyed"] == 100
    board.receive(encode(line(10**9)))
    assert board.counters()["obeyed"] == 101  # the board still takes a good one
    assert f"of {8 * EACH:,} forged, recorded and stale commands it obeyed 0" in (ROOT / "docs" / "bridge.md").read_text()
