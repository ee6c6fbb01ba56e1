"""The ring in shared memory: wrap-around, drops, a reader that comes, stops, dies and comes again; and many small histories."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.store.ring import RingReader, RingWriter

READER = """
import os, sys, time
from edge.store.ring import RingReader
ring = RingReader(int(sys.argv[1]))
print("attached", flush=True)
seen = 0
while True:
    message = ring.take()
    if message is None:
        time.sleep(0.0005)
        continue
    number = int.from_bytes(message[:8], "little")
    assert message == number.to_bytes(8, "little") * (number % 9 + 1), number
    print(number, flush=True)
"""


@pytest.fixture
def pair():
    writer = RingWriter(4, 24)
    reader = RingReader(os.dup(writer.descriptor))
    yield writer, reader
    reader.close()
    writer.close()


def drain(reader):
    found = []
    while (message := reader.take()) is not None:
        found.append(message)
    return found


def test_messages_come_out_in_order_over_many_turns(pair):
    writer, reader = pair
    sent = [bytes([i % 256]) * (i % 25) for i in range(103)]
    got = []
    for message in sent:
        assert writer.write(message)
        if len(got) % 3 != 2:
            got += drain(reader)
        else:
            got.append(reader.take())
    assert got + drain(reader) == sent
    assert writer.dropped == 0


def test_a_full_ring_drops_what_is_new_and_counts_it(pair):
    writer, reader = pair
    assert [writer.write(bytes([i])) for i in range(6)] == [True] * 4 + [False] * 2
    assert (writer.dropped, reader.dropped, writer.written) == (2, 2, 4)
    assert drain(reader) == [b"\0", b"\1", b"\2", b"\3"]
    assert writer.write(b"again")
    assert drain(reader) == [b"again"]


def test_a_reader_begins_with_what_is_written_after_it_came(pair):
    writer, reader = pair
    for _ in range(6):
        writer.write(b"old")
    other = RingReader(os.dup(writer.descriptor))  # the one before died with a full ring
    assert other.take() is None
    assert writer.write(b"new")
    assert drain(other) == [b"new"]
    other.close()
    assert reader.take() is None or reader.read <= writer.written


def test_a_slot_that_is_not_wholly_there_yet_is_not_given(pair):
    writer, reader = pair
    at = writer.begin()
    writer.bytes[at : at + 3] = b"abc"
    writer.end(3)
    writer.bytes[at] = 0  # as another processor may see it: the head is there, the slot is not
    assert reader.take() is None
    writer.bytes[at : at + 3] = b"abc"
    assert reader.take() == b"abc"


def test_what_does_not_fit_is_refused(pair):
    writer, _ = pair
    with pytest.raises(ValueError, match="a slot takes 24"):
        writer.write(b"x" * 25)
    for slots, size in ((0, 1), (1, 0), (1 << 20, 1 << 20)):
        with pytest.raises(ValueError, match="slots"):
            RingWriter(slots, size)


@pytest.mark.parametrize(("limit", "reason"), [("RLIMIT_FSIZE", "File too large"), ("RLIMIT_NOFILE", "Too many open files")])
def test_memory_that_is_refused_is_said_in_words_and_leaves_nothing_open(limit, reason):
    number = getattr(resource, limit)
    soft, hard = resource.getrlimit(number)
    before = len(os.listdir("/proc/self/fd"))
    try:
        resource.setrlimit(number, (3, hard))
        with pytest.raises(OSError, match=f"1.0 MB of shared memory cannot be had: {reason}"):
            RingWriter(1000, 1000)
    finally:
        resource.setrlimit(number, (soft, hard))
    assert len(os.listdir("/proc/self/fd")) == before


def test_other_memory_is_no_ring(tmp_path):
    for size in (0, 10, 4096):
        with (tmp_path / "f").open("w+b") as file:
            file.truncate(size)
            with pytest.raises(ValueError, match="no ring"):
                RingReader(os.dup(file.fileno()))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 7), st.lists(st.one_of(st.integers(0, 40), st.none()), max_size=120))
def test_any_history_gives_what_was_accepted_in_order(slots, steps):
    writer = RingWriter(slots, 40)
    reader = RingReader(os.dup(writer.descriptor))
    accepted, got, refused = [], [], 0
    for step in steps:
        if step is None:
            if (message := reader.take()) is not None:
                got.append(message)
        elif writer.write(bytes([step]) * step):
            accepted.append(bytes([step]) * step)
        else:
            refused += 1
        assert len(accepted) - len(got) <= slots
    got += drain(reader)
    assert got == accepted
    assert writer.dropped == refused
    reader.close()
    writer.close()


def start_reader(writer):
    process = subprocess.Popen(
        [sys.executable, "-c", READER, str(writer.descriptor)], stdout=subprocess.PIPE, pass_fds=(writer.descriptor,), text=True
    )
    assert process.stdout.readline() == "attached\n"
    return process


def test_the_writer_goes_on_whatever_becomes_of_a_reader_in_another_process():
    writer = RingWriter(64, 80)
    number = 0

    def write(n, pause_s=0.0):
        nonlocal number
        for _ in range(n):
            writer.write(number.to_bytes(8, "little") * (number % 9 + 1))
            number += 1
            time.sleep(pause_s)

    reader = start_reader(writer)
    try:
        write(200, 0.001)
        reader.send_signal(signal.SIGSTOP)
        write(200)
        assert writer.dropped >= 200 - 64 - 1
        reader.send_signal(signal.SIGCONT)
        reader.kill()
        seen = [int(line) for line in reader.stdout.read().split()]
        assert seen == sorted(set(seen))
        reader.stdout.close()
        reader.wait(10)
        write(100)
        dropped, first = writer.dropped, number
        reader = start_reader(writer)
        write(50, 0.001)
        deadline = time.monotonic() + 10
        while writer.read < writer.written and time.monotonic() < deadline:
            time.sleep(0.01)
        reader.kill()
        assert [int(line) for line in reader.stdout.read().split()] == list(range(first, first + 50))
        assert writer.dropped == dropped
    finally:
        reader.kill()
        reader.stdout.close()
        reader.wait(10)
        writer.close()


def test_a_ring_that_somebody_still_looks_at_can_be_closed():
    writer = RingWriter(2, 16)
    view = writer.bytes.cast("f")
    writer.close()
    assert view[0] is not None
