"""The C code and the host's session against each other, without a line: every byte and every microsecond is the test's."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import auth, kernels
from firmware_bridge.errors import LinkError
from firmware_bridge.framing import Decoder, encode, header
from firmware_bridge.messages import Command, Fault, Heartbeat, HelloRequest, Log, ParameterGet, ScanChunk, Status, Telemetry
from firmware_bridge.scans import Reassembly
from firmware_bridge.session import Session
from tests.bridge.c_board import BOOT, CBoard

KEY = bytes(range(32))
VECTORS = Path(__file__).parents[1] / "bridge_c" / "vectors.json"


class Rig:
    """A session and a board with a wire between them that a test can read and change."""

    def __init__(self, shim: Path, key: bytes | None = None) -> None:
        self.board = CBoard(shim, key=key)
        self.to_board: list[bytes] = []
        self.session = Session(key, self._send)
        self.now_us = 5_000_000
        self.found = []
        self.outcomes = []
        self.is_cut = False

    def _send(self, data: bytes) -> bool:
        self.to_board.append(data)
        return True

    def step(self, us: int = 1000) -> None:
        self.now_us += us
        self.board.now_us = self.now_us - 4_000_000
        self.session.poll(self.now_us)
        for data in self.to_board:
            if not self.is_cut:
                self.board.receive(data)
        self.to_board.clear()
        self.board.poll()
        self.found += self.session.feed(self.board.take(), self.now_us)

    def ready(self) -> "Rig":
        for _ in range(400):
            self.step()
        assert self.session.is_ready
        return self

    def command(self, value: float, ttl_us: int = 200_000) -> int | None:
        return self.session.command(1, value, ttl_us, self.now_us, self.outcomes.append)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "signed"])
def test_a_command_is_obeyed_once_however_often_it_is_sent(shim: Path, key: bytes | None):
    rig = Rig(shim, key).ready()
    rig.command(30.0)
    frame = rig.to_board[-1]
    rig.is_cut = True
    for _ in range(50):
        rig.step()
    rig.is_cut = False
    for _ in range(50):
        rig.step()
    assert [(o.status, o.value) for o in rig.outcomes] == [(Status.OK, 30.0)]
    assert rig.outcomes[0].tries > 1
    rig.board.receive(frame * 3)
    counters = rig.board.counters()
    assert counters["obeyed"] == 1
    assert rig.board.actuators()[1] == 30.0


def test_a_stale_command_is_refused(shim: Path):
    rig = Rig(shim).ready()
    rig.command(30.0, 50_000)
    held = rig.to_board.pop()
    rig.is_cut = True
    for _ in range(100):
        rig.step()
    rig.is_cut = False
    rig.board.receive(held)
    rig.step()
    assert [o.status for o in rig.outcomes] == [None]
    assert rig.board.counters()["obeyed"] == 0 < rig.board.counters()["denied"]
    assert rig.board.actuators()[1] == 0.0


def test_an_older_command_does_not_undo_a_newer_one(shim: Path):
    rig = Rig(shim).ready()
    rig.command(10.0)
    old = rig.to_board.pop()
    rig.command(20.0)
    rig.step()
    rig.board.receive(old)
    assert rig.board.actuators()[1] == 20.0


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "signed"])
def test_a_reset_voids_commands_and_is_found(shim: Path, key: bytes | None):
    rig = Rig(shim, key).ready()
    rig.command(30.0, 900_000)
    held = rig.to_board.pop()
    rig.board.start(BOOT + 1)
    rig.board.receive(held)
    assert rig.board.counters()["obeyed"] == 0
    for _ in range(600):
        rig.step()
    assert rig.session.boots == 2
    assert rig.outcomes[0].status is None
    rig.command(12.0)
    rig.step()
    rig.step()
    assert rig.board.actuators()[1] == 12.0


def test_no_forged_replayed_or_unsigned_command_is_obeyed(shim: Path):
    rig = Rig(shim, KEY).ready()
    rig.command(10.0)
    good = rig.to_board[-1]
    rig.step()
    assert rig.board.counters()["obeyed"] == 1
    body = Decoder().feed(good)[0]
    rng = random.Random(1)
    now = rig.board.now_us
    fresh = Command(now + 500_000, BOOT & 0xFFFF_FFFF, 7, 1, 99.0, 1, 0).pack()
    for i in range(2000):
        flags = rng.choice([2, 3])
        frame = header(Command.CODE, flags, 0, 1000 + i, now, fresh)
        if flags & 1:
            frame += rng.choice([body.counter, body.counter + 1, rng.randrange(2**32)]).to_bytes(4, "little")
            frame += rng.choice(
                [body.tag, rng.randbytes(8), auth.tag(rng.randbytes(32), is_to_board=True, boot_id=BOOT, session=0, data=frame)]
            )
        rig.board.receive(encode(frame))
        rig.board.receive(good)
    counters = rig.board.counters()
    assert counters["obeyed"] == 1
    assert counters["replayed"] >= 2000
    assert counters["forged"] + counters["unsigned"] == 2000
    assert counters["received"] == counters["used"] + sum(counters[name] for name in ("forged", "unsigned", "replayed"))


def test_a_signed_host_takes_no_forged_hello_and_no_ack(shim: Path):
    rig = Rig(shim, KEY).ready()
    intruder = CBoard(shim, key=bytes(32), boot_id=5)
    intruder.receive(encode(header(HelloRequest.CODE, 2, 0, 0, 0, HelloRequest(rig.session.session).pack())))
    rig.session.feed(intruder.take(), rig.now_us)
    plain = CBoard(shim, boot_id=6)
    plain.poll()
    rig.session.feed(plain.take(), rig.now_us)
    assert rig.session.hello.boot_id == BOOT
    counts = rig.session.counts()
    assert counts["forged"] == 1
    assert counts["unsigned"] == 2
    assert counts["received"] == counts["used"] + 3 + counts["replayed"]


def test_damaged_frames_are_never_taken(shim: Path):
    rng = random.Random(7)
    board = CBoard(shim)
    decoder = Decoder()
    good = encode(header(Command.CODE, 2, 0, 9, 1, Command(2**40, BOOT & 0xFFFF_FFFF, 1, 1, 1.0, 1, 0).pack()))
    for _ in range(20_000):
        line = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            line[rng.randrange(1, len(line) - 1)] ^= rng.randint(1, 255)
        if line != good:
            assert not decoder.feed(bytes(line))
            board.receive(bytes(line))
    counters = board.counters()
    assert counters["used"] == 0
    assert counters["received"] == decoder.received == decoder.refused.sum()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=700), max_size=8), st.binary(max_size=60), st.integers(1, 97))
def test_whatever_came_before_the_next_frames_are_found(payloads: list[bytes], garbage: bytes, piece: int):
    frames = [header(Log.CODE, 0, 0, i, i, payload) for i, payload in enumerate(payloads)]
    line = garbage + b"".join(map(encode, frames))
    decoder = Decoder()
    found = [frame for at in range(0, len(line), piece) for frame in decoder.feed(line[at : at + piece])]
    assert [frame.payload for frame in found] == payloads
    assert decoder.received == len(found) + decoder.refused.sum()


def test_vectors_hold_on_both_sides(shim: Path):
    vectors = json.loads(VECTORS.read_text())
    board = CBoard(shim)
    import ctypes

    for entry in vectors["crc32c"]:
        data = bytes.fromhex(entry["data"])
        array = np.frombuffer(data, np.uint8).copy()
        for crc in (kernels.crc32c, kernels.crc32c_by_tables):  # by the processor, where it can, and everywhere else
            assert crc(array, 0, len(data)) == entry["crc"] == board.library.eb_crc32c(0, data, len(data))
    for entry in vectors["tags"]:
        key, data = bytes.fromhex(entry["key"]), bytes.fromhex(entry["data"])
        made = auth.tag(key, is_to_board=entry["to_board"], boot_id=entry["boot_id"], session=entry["session"], data=data)
        prefix = (
            bytes([entry["to_board"]])
            + entry["boot_id"].to_bytes(8, "little")
            + (0 if entry["to_board"] else entry["session"]).to_bytes(8, "little")
        )
        tag = ctypes.create_string_buffer(8)
        board.library.eb_tag(tag, key, prefix, data, ctypes.c_size_t(len(data)))
        assert made.hex() == entry["tag"] == tag.raw.hex()
    for entry in vectors["frames"]:
        assert encode(bytes.fromhex(entry["frame"])).hex() == entry["line"]
        assert len(Decoder().feed(bytes.fromhex(entry["line"]))) == 1


def test_telemetry_scans_logs_and_faults_arrive(shim: Path):
    rig = Rig(shim).ready()
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert rig.board.telemetry(rows, number=3, stamp_us=77)
    points = np.arange(900, dtype=np.float32).reshape(300, 3)
    reassembly = Reassembly()
    for first in (200, 0, 80, 160):
        assert rig.board.scan(
            points[first : min(first + 80, 300 if first == 200 else first + 80)][: 40 if first == 160 else 100], 5, 300, first
        )
    assert not rig.board.scan(points[:100], 5, 300, 0)  # larger than a payload
    assert not rig.board.telemetry(np.zeros((0, 3), np.float32))
    assert rig.board.words("hot") == 2
    rig.step()
    messages = [received.message for received in rig.found]
    block = next(m for m in messages if isinstance(m, Telemetry))
    assert (block.number, block.rows, block.channels, block.data) == (3, 4, 3, rows.tobytes())
    assert any(isinstance(m, Log) and m.text == "hot" for m in messages)
    assert any(isinstance(m, Fault) and m.code == 7 for m in messages)
    chunks = [m for m in messages if isinstance(m, ScanChunk)]
    wholes = [reassembly.add(chunk, 1, 5) for chunk in chunks]
    missing = ScanChunk(5, 300, 280, 3, 0, points[280:].tobytes())
    whole = wholes[-1] or reassembly.add(missing, 1, 5)
    assert whole.points == points.tobytes()


def test_a_bare_board_answers_politely(shim: Path):
    board = CBoard(shim, is_bare=True, schema="")
    board.receive(encode(header(ParameterGet.CODE, 2, 0, 0, 0, ParameterGet(1, 1).pack())))
    board.receive(encode(header(Command.CODE, 2, 0, 1, 0, Command(1000, BOOT & 0xFFFF_FFFF, 1, 1, 1.0, 1, 0).pack())))
    statuses = [frame.payload[8] if frame.type == 0x32 else frame.payload[18] for frame in Decoder().feed(board.take())]
    assert statuses == [Status.UNKNOWN, Status.UNKNOWN]
    assert board.host_age() == 0
    board.receive(encode(header(Heartbeat.CODE, 2, 0, 2, 0, Heartbeat(BOOT, 0, 0, 0, 1, 255).pack())))
    board.stall(True)
    board.now_us = 10_000_000
    board.poll()
    assert board.host_age() == 10_000_000
    assert board.counters()["dropped"] == 2


def test_the_counter_wraps_and_every_kind_of_order_is_told(shim: Path):
    board = CBoard(shim)
    assert board.host_age() == 2**64 - 1

    def say(seq: int) -> None:
        board.receive(encode(header(ParameterGet.CODE, 2, 0, seq, 0, ParameterGet(1, 1).pack())))

    for seq in (65_533, 65_534, 1, 0, 1, 65_535, 500, 3):
        say(seq)
    counters = board.counters()
    assert counters["repeated"] == 1
    assert counters["late"] == 2
    assert counters["lost"] == 498
    assert counters["used"] == 7


def test_a_long_frame_and_the_wrong_direction_are_told(shim: Path):
    board = CBoard(shim)
    board.receive(b"\xff" + b"\1" * 3000 + b"\0")
    board.receive(encode(header(ParameterGet.CODE, 0, 0, 0, 0, ParameterGet(1, 1).pack())))
    board.receive(encode(header(0x7F, 2, 0, 0, 0, b"")))
    board.receive(encode(b"\2" + header(ParameterGet.CODE, 2, 0, 0, 0, b"1234")[1:]))
    board.receive(encode(header(ParameterGet.CODE, 2, 0, 0, 0, b"1234") + b"x"))
    board.receive(b"\5\1\0\2\1\0" + encode(b"ab"))
    counters = board.counters()
    for name in ("oversized", "direction", "unknown", "version", "length", "cobs"):
        assert counters[name] == 1, name
    assert counters["short"] == 2


def test_keys_are_read_only_from_a_private_file(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text(KEY.hex() + "\n")
    path.chmod(0o644)
    with pytest.raises(LinkError, match="chmod 600"):
        auth.read_key(path)
    path.chmod(0o600)
    assert auth.read_key(path) == KEY
    path.write_text("00")
    with pytest.raises(LinkError, match="64 hexadecimal digits"):
        auth.read_key(path)
    with pytest.raises(LinkError, match="No such file"):
        auth.read_key(tmp_path / "none")
