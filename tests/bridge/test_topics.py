"""What a board's messages become after it was reset or lost, and scans in many small chunks."""

import time
from pathlib import Path

import numpy as np
import pytest

from edge.messages import Command as EdgeCommand
from edge.messages import Outgoing
from edge.transport.serial import Board, SerialLine
from firmware_bridge.errors import LinkError
from firmware_bridge.messages import Hello, ScanChunk
from firmware_bridge.scans import Reassembly
from firmware_bridge.session import Received
from firmware_bridge.topics import Topics
from tests.bridge.pty_board import plug

TEXT = "S1 lidar 10 x,y;A1 brake % 0 100 0"


def hello(boot: int, text: str = TEXT) -> Hello:
    return Hello(boot, 1, 0, 1024, 1, text)


def scan(topics: Topics, number: int, points: int = 2) -> int:
    chunk = ScanChunk(number, points, 0, 2, 0, np.zeros(4, "<f4").tobytes())
    return len(list(topics.payloads(Received(chunk, 1, number, 0))))


def test_scans_go_on_at_once_after_a_reset():
    topics = Topics("serial/b")
    assert topics.follow(hello(1))
    assert sum(scan(topics, number) for number in range(600)) == 600
    assert scan(topics, 600, points=3) == 0  # unfinished
    assert topics.follow(hello(2))
    assert sum(scan(topics, number) for number in range(500)) == 500
    assert (topics.scans.refused, topics.scans.dropped, topics.scans.finished) == (0, 1, 1100)


def test_a_lost_board_and_one_with_a_bad_schema_have_no_actuator():
    topics = Topics("serial/b")
    first = hello(1)
    assert topics.follow(first)
    assert not topics.follow(first)
    assert not topics.follow(hello(1))  # said again
    assert topics.actuator("serial/b/brake") is not None
    assert not topics.follow(None)
    assert topics.actuator("serial/b/brake") is None
    assert topics.follow(hello(1))  # the same board after its cable was out
    with pytest.raises(LinkError, match="schema"):
        topics.follow(hello(2, "A1 brake"))
    assert topics.actuator("serial/b/brake") is None
    assert topics.follow(hello(3))


def test_a_scan_in_very_many_chunks_takes_no_longer_a_chunk():
    rng = np.random.default_rng(3)
    n = 40_000
    order = rng.permutation(n)
    reassembly = Reassembly()
    start_s = time.process_time()
    for k in order[:-1].tolist():
        assert reassembly.add(ScanChunk(1, n, k, 1, 0, k.to_bytes(4, "little")), 1, 0) is None
    again = int(order[n // 2])
    assert reassembly.add(ScanChunk(1, n, max(again - 1, 0), 1, 0, bytes(8)), 1, 0) is None
    assert reassembly.refused == 1
    whole = reassembly.add(ScanChunk(1, n, int(order[-1]), 1, 0, int(order[-1]).to_bytes(4, "little")), 1, 0)
    assert whole.points == np.arange(n, dtype="<u4").tobytes()
    assert time.process_time() - start_s < 10  # looking at all chunks for each takes minutes


def test_overlaps_are_those_that_a_look_at_every_point_finds():
    rng = np.random.default_rng(4)
    for _ in range(200):
        reassembly, taken, refused = Reassembly(), np.zeros(40, bool), 0
        for _ in range(12):
            first, n = int(rng.integers(0, 40)), int(rng.integers(1, 8))
            is_bad = first + n > 40 or taken[first : first + n].any()
            if not is_bad and taken.sum() + n == 40:
                break
            reassembly.add(ScanChunk(1, 40, first, 1, 0, bytes(4 * n)), 1, 0)
            refused += is_bad
            if not is_bad:
                taken[first : first + n] = True
            assert reassembly.refused == refused


def test_the_daemon_sends_no_value_that_the_board_does_not_allow(shim: Path):
    terminal = plug(shim)
    board = Board("one", SerialLine(terminal.path), lambda _message: None)
    board.topics.learn(hello(1))
    try:
        for value in (100.5, -0.5, 1e39, float("nan")):
            made = EdgeCommand("a", "one", "b", 1, 0, time.monotonic_ns() + 10**9, "brake", value, "%", None, "serial/one/brake")
            assert not board.send(Outgoing("command", made.topic, b"", made))
        assert board.outcomes == {"range": 4}
    finally:
        terminal.unplug()
