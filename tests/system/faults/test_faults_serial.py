"""Faults of a board and of its line: the sensor and the fan are a board's (its C code, behind a pseudo-terminal)."""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.protocol import REASONS
from tests.bridge.c_board import BOOT, CBoard, compile_shim
from tests.bridge.pty_board import PtyBoard
from tests.broker import needs_mosquitto
from tests.system.faults.site import FLIP, PIPELINE, RATE_HZ, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(300)]
SCHEMA = "Nrig;T1 s 200 x=1;A1 fan 1 0 1 0.3"
TEXT = (
    PIPELINE.replace('topic = "d/{device}/s"\nformat = "json"', 'topic = "serial/{device}/s"').replace(
        "d/{device}/cmd/fan", "serial/{device}/fan"
    )
    + '\n[serial.a]\nurl = "serial://{port}?baud=921600"\n'
)


class Board(CBoard):
    """Sends what the sensor of the other faults sends, and can be made to misbehave.

    Attributes:
        harm: what becomes of each frame on its way; None: nothing.
        is_hung: hears and says nothing.
        is_quiet: has no telemetry.
        made, harmed: frames that it has sent; those of them that were changed.
    """

    def __init__(self, path, **settings):
        self.harm, self.is_hung, self.is_quiet, self.made, self.harmed = None, False, False, 0, 0
        super().__init__(path, schema=SCHEMA, **settings)

    def telemetry(self, rows, number=0, stamp_us=0, stream=1):
        is_silent = self.is_hung or self.is_quiet
        return 0 if is_silent else super().telemetry(np.full_like(rows, number // FLIP % 2), number, stamp_us, stream)

    def receive(self, data):
        if not self.is_hung:
            super().receive(data)

    def take(self):
        data = super().take()
        if self.is_hung:
            return b""
        frames = [frame for frame in data.split(b"\0") if frame]
        self.made += len(frames)
        if self.harm is None:
            return data
        out = b""
        for frame in frames:
            sent = self.harm(frame)
            self.harmed += sent != frame
            out += b"\0" + sent + b"\0"
        return out


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return compile_shim(tmp_path_factory.mktemp("shim"), "-O1")


@pytest.fixture
def bench(site, shim, tmp_path):
    """``bench()``: a daemon with a board, both at work; ``plug(boot_id)``: another board on another terminal under the same name."""
    boards = []

    class Bench:
        port = tmp_path / "usb-rig"

        def __call__(self):
            self.plug(BOOT)
            self.site = site(text=TEXT.replace("{port}", str(self.port)), sensor=False)
            self.site.until_working()
            until(lambda: self.board.counters()["obeyed"] > 0)
            return self

        def plug(self, boot_id):
            self.line = PtyBoard(Board(shim, boot_id=boot_id), 1 / RATE_HZ, rows=1)
            boards.append(self.line)
            self.board = self.line.board
            self.port.unlink(missing_ok=True)
            self.port.symlink_to(self.line.path)

        def unplug(self):
            boards.remove(self.line)
            self.line.unplug()

        def status(self):
            return self.site.status()["serial"]["a"]

        def stream(self):
            return self.site.peer.json("guard/health")[-1]["streams"]["s"]["state"]

        def close(self, seen):
            """Closes the books; nothing that the line did was taken for a row."""
            self.board.is_quiet = True
            counters = self.board.counters()
            seen["obeyed"], seen["refused by the board"] = counters["obeyed"], counters["denied"]
            self.site.settle()
            self.site.judge(seen)
            stream = self.site.status()["streams"]["s"]
            assert not any(stream["invalid"].values()), stream
            states = list({a["id"]: a["state"] for a in self.site.alerts()}.values())
            assert set(states) == {"raised", "cleared"}

    bench = Bench()
    yield bench
    for line in boards:
        line.unplug()


def accounted(bench, seen):
    """Ends the harm and waits until all that was sent has been read: each frame that was changed is missed, so none was taken."""
    bench.board.harm = None
    time.sleep(0.1)
    used = bench.status()["used"]
    until(lambda: bench.status()["used"] > used + 300, lambda: str(bench.status()))
    status = bench.status()
    seen["frames changed"], seen["missed"] = bench.board.harmed, status["lost"]
    assert status["received"] == status["used"] + sum(status[name] for name in REFUSED), status
    assert status["received"] - status["used"] >= bench.board.harmed > 20, status
    assert bench.board.harmed - 2 <= status["lost"] <= bench.board.harmed, status


REFUSED = tuple(name for name, _ in REASONS)


@pytest.mark.fault("serial", "bits flipped in one frame of five", "none of them is taken, each is counted and missed; the others are used")
def test_flipped_bits(bench, seen):
    bench = bench()
    rng = random.Random(3)

    def flip(frame):
        if rng.random() > 0.2:
            return frame
        data = bytearray(frame)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)

    bench.board.harm = flip
    time.sleep(2)
    bench.site.until_working()
    accounted(bench, seen)
    bench.site.until_working()
    bench.close(seen)


@pytest.mark.fault(
    "serial", "bytes dropped, doubled and put in, in one frame of five", "gaps counted are gaps made; no wrong frame is taken"
)
def test_dropped_and_doubled_bytes(bench, seen):
    bench = bench()
    rng = random.Random(4)

    def shift(frame):
        at = rng.randrange(len(frame))
        changed = (frame[:at] + frame[at + 1 :], frame[:at] + frame[at : at + 1] + frame[at:], frame[:at] + b"\x11" + frame[at:])
        return rng.choice(changed) if rng.random() < 0.2 else frame

    bench.board.harm = shift
    time.sleep(2)
    bench.site.until_working()
    accounted(bench, seen)
    bench.site.until_working()
    bench.close(seen)


@pytest.mark.fault(
    "serial", "noise between the frames, 100 kB/s for 3 s", "frames between are found, noise is counted; the loop meets its budget"
)
def test_noise(bench, seen):
    bench = bench()
    rng = random.Random(5)
    before = bench.site.status()["decisions"]["made"]
    for _ in range(300):
        bench.line.say.append(rng.randbytes(1000))
        time.sleep(0.01)
    bench.site.until_working()
    status, whole = bench.status(), bench.site.status()
    refused = status["received"] - status["used"]
    seen["refused"], seen["decisions meanwhile"] = refused, whole["decisions"]["made"] - before
    seen["missed deadlines"] = whole["budget"]["missed"]
    assert refused > 100
    assert seen["decisions meanwhile"] > 20
    bench.close(seen)


def rss_mb(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.fault(
    "serial", "a frame without end: 512 kB without a delimiter", "thrown away as it comes, counted once; memory does not grow"
)
def test_frame_without_end(bench, seen):
    bench = bench()
    before = rss_mb(bench.site.edge.process.pid)
    read = bench.status()["read_bytes"]
    bench.line.say += [b"\x55" * 4096] * 128
    until(lambda: bench.status()["read_bytes"] > read + (512 << 10), lambda: str(bench.status()))
    bench.site.until_working()
    seen["memory grew, MB"] = rss_mb(bench.site.edge.process.pid) - before
    assert seen["memory grew, MB"] < 3
    assert bench.status()["oversized"] >= 1
    bench.close(seen)


@pytest.mark.fault(
    "serial", "board unplugged, plugged in again as another tty, started anew", "told; outputs wait; found again by its name"
)
def test_replugged(bench, seen):
    bench = bench()
    bench.unplug()
    began = time.monotonic()
    until(lambda: bench.status()["state"].startswith("closed: "), lambda: str(bench.status()))
    seen["told, s"] = time.monotonic() - began
    until(lambda: bench.stream() == "silent")
    bench.plug(BOOT + 1)
    began = time.monotonic()
    bench.site.until_working()
    until(lambda: bench.board.counters()["obeyed"] > 0, lambda: str(bench.status()))
    seen["at work again, s"] = time.monotonic() - began
    status = bench.status()
    assert (status["opens"], status["boots"]) == (2, 2)
    bench.close(seen)


@pytest.mark.fault(
    "serial", "board that does not read for 3 s", "the loop is not held up; commands are withheld; none is obeyed when it is old"
)
def test_not_drained(bench, seen):
    bench = bench()
    made = bench.site.status()["decisions"]["made"]
    bench.line.stop_reading()
    obeyed = bench.board.counters()["obeyed"]
    time.sleep(3)
    bench.site.until_working()
    assert bench.board.counters()["obeyed"] == obeyed
    assert bench.site.status()["decisions"]["made"] > made + 20
    bench.board.is_quiet = True  # no decisions, so no new commands: what comes now is old
    until(lambda: bench.stream() == "silent")
    safe = bench.site.status()["commands"]["sent"]
    assert safe
    time.sleep(0.5)
    bench.line.is_reading = True
    until(lambda: bench.board.counters()["denied"] > 0, lambda: str(bench.board.counters()))
    until(lambda: abs(bench.board.actuators()[1] - 0.3) < 1e-6, lambda: str(bench.board.actuators()))
    bench.board.is_quiet = False
    bench.site.until_working()
    seen["withheld"] = sum(bench.site.status()["commands"]["withheld"].values())
    bench.close(seen)
    assert seen["refused by the board"] > 0


@pytest.mark.fault("serial", "board reset in mid-stream", "another boot, noticed; commands to the boot before are void; obeyed again")
def test_board_reset(bench, seen):
    bench = bench()
    boots = bench.status()["boots"]
    bench.board.start(BOOT + 1)
    began = time.monotonic()
    assert bench.board.counters()["obeyed"] == 0
    until(lambda: bench.status()["boots"] == boots + 1, lambda: str(bench.status()))
    until(lambda: bench.board.counters()["obeyed"] > 0, lambda: str(bench.status()))
    seen["obeyed again, s"] = time.monotonic() - began
    bench.site.until_working()
    bench.close(seen)


@pytest.mark.fault(
    "serial", "board hangs for 3 s: hears and says nothing", "stream silent, board not alive, nothing is commanded; goes on by itself"
)
def test_board_hangs(bench, seen):
    bench = bench()
    bench.board.is_hung = True
    began = time.monotonic()
    until(lambda: not bench.status()["is_alive"], lambda: str(bench.status()))
    seen["told, s"] = time.monotonic() - began
    until(lambda: bench.stream() == "silent")
    time.sleep(max(0.0, began + 3 - time.monotonic()))
    bench.board.is_hung = False
    began = time.monotonic()
    bench.site.until_working()
    obeyed = bench.board.counters()["obeyed"]
    until(lambda: bench.board.counters()["obeyed"] > obeyed, lambda: str(bench.status()))
    seen["at work again, s"] = time.monotonic() - began
    assert bench.status()["is_alive"]
    bench.close(seen)
