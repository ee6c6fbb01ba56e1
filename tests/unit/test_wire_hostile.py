"""What a hostile payload may cost: as many bytes as it has, and no more memory than they take."""

import contextlib
import struct
import time
import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import Reason, Reject
from edge.messages import Block
from edge.wire.json_fields import JsonCodec
from edge.wire.scan import ScanCodec
from edge.wire.telemetry import TelemetryCodec

MAX_BYTES = 1 << 20
CONTEXT = 65_536  # bytes: the reader's own stack takes 41 KB, whatever the payload
PAD = bytes(600)  # takes a message past the size up to which maps are decoded whole


def nested(depth, width):
    """Lists in lists, ``width`` to each, empty maps at the bottom: one byte each, sixty-four bytes of memory when built."""
    return b"\x80" if depth == 0 else b"\xdc" + struct.pack(">H", width) + nested(depth - 1, width) * width


def spine(width, leaf):
    """A list of leaves whose last item is such a list, a thousand deep: nothing is complete before the end."""
    return (b"\xdc" + struct.pack(">H", width) + leaf * (width - 1)) * 1000


BOMBS = {
    "a megabyte of empty maps": b"\x81\xa1q\xdd" + struct.pack(">I", MAX_BYTES - 8) + b"\x80" * (MAX_BYTES - 8),
    "lists of lists of maps": b"\x81\xa1q" + nested(3, 64),
    "lists of lists of maps where the counter is": b"\x81\xa3seq" + nested(3, 64),
    "lists of lists of maps where the version is": b"\x81\xa1v" + nested(3, 64),
    "lists of lists of maps where the samples are": b"\x82\xa1v\x01\xa1x" + nested(3, 64),
    "a spine of lists": b"\x81\xa1q" + spine(64, b"\xa2ab"),
    "a spine of lists at the top": spine(64, b"\xa2ab"),
    "maps to the bottom": b"\x81\xa1q" * 200_000,
    "an array that claims four billion": b"\x81\xa1q\xdd\xff\xff\xff\xff" + bytes(MAX_BYTES // 2),
    "a map that claims four billion": b"\xdf\xff\xff\xff\xff" + bytes(MAX_BYTES // 2),
    "bytes for a version": b"\x81\xa1v\xc6" + struct.pack(">I", MAX_BYTES - 16) + b"\xff" * (MAX_BYTES - 16),
    "bytes for a counter": b"\x81\xa3seq\xc6" + struct.pack(">I", MAX_BYTES - 16) + b"\xff" * (MAX_BYTES - 16),
    "a key without end": b"\x81\xdb" + struct.pack(">I", MAX_BYTES - 16) + b"k" * (MAX_BYTES - 16) + b"\x01",
}
JSON_BOMBS = {
    "a megabyte of empty objects": b'{"q":[' + b"{}," * (MAX_BYTES // 3 - 4) + b"{}]}",
    "lists to the bottom": b'{"q":' + b"[" * (MAX_BYTES - 10),
    "objects to the bottom": b'{"q":' * 200_000,
    "objects where a number is due": b'{"a":[' + b"{}," * (MAX_BYTES // 3 - 4) + b"{}]}",
    "digits without end": b'{"t":' + b"9" * (MAX_BYTES - 10) + b"}",
    "digits without end where a channel is": b'{"a":' + b"9" * (MAX_BYTES - 10) + b"}",
}


def attempt(decode, payload):
    try:
        decode(payload)
    except Reject as reject:
        return reject
    return None


def cost(decode, payload):
    times = []
    for _ in range(7):
        began = time.perf_counter_ns()
        attempt(decode, payload)
        times.append(time.perf_counter_ns() - began)
    return min(times)


def memory(decode, payload):
    tracemalloc.start()
    attempt(decode, payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def telemetry():
    codec, block = TelemetryCodec(2, 1 << 17, MAX_BYTES), Block(2, 1 << 17)
    return lambda payload: codec.decode(payload, block)


def scans():
    codec = ScanCodec(1 << 17, MAX_BYTES)
    return lambda payload: codec.decode(payload, 0)


def objects():
    codec, block = JsonCodec(("a", "b"), {}, 1, 1 << 17, MAX_BYTES), Block(2, 1 << 17)
    return lambda payload: codec.decode(payload, block)


@pytest.mark.parametrize("decode", [telemetry(), scans()], ids=["telemetry", "scan"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_messagepack_bomb_builds_nothing(name, decode):
    payload = BOMBS[name]
    assert attempt(decode, payload) is not None
    # Two copies: the reader's buffer and at most one value. Built, the maps alone would be sixty-four bytes a byte.
    assert memory(decode, payload) < 2 * len(payload) + CONTEXT


@pytest.mark.parametrize("name", JSON_BOMBS)
def test_a_json_bomb_builds_nothing(name):
    payload = JSON_BOMBS[name]
    assert attempt(objects(), payload) is not None
    assert memory(objects(), payload) < 2 * len(payload) + CONTEXT


def test_a_refusal_repeats_little_of_what_the_sender_wrote():
    long_name = msgpack.packb({"v": 1, "x": b"", "n": 0, "fields": ["n" * 64] * 16, "pad": PAD})
    refusals = [attempt(telemetry(), payload) for payload in BOMBS.values()]
    refusals += [attempt(scans(), payload) for payload in (*BOMBS.values(), long_name)]
    refusals += [attempt(objects(), payload) for payload in JSON_BOMBS.values()]
    assert max(len(str(refusal)) for refusal in refusals) < 300


def test_a_bomb_costs_what_passing_over_its_bytes_costs():
    """Against a message of the same size that is nothing but one unknown list of small numbers, which nobody builds either."""
    decode = telemetry()
    ordinary = b"\x82\xa1v\x01\xa1q\xdd" + struct.pack(">I", MAX_BYTES - 16) + b"\x01" * (MAX_BYTES - 16)
    per_byte = cost(decode, ordinary) / len(ordinary)
    for name, payload in BOMBS.items():
        assert cost(decode, payload) < 20 * per_byte * len(payload), name


def test_a_small_bomb_costs_a_few_good_messages():
    """1 us for a good one; 30 us for the worst that fits: as many unfinished containers as bytes."""
    decode = telemetry()
    good = cost(decode, msgpack.packb({"v": 1, "seq": 1, "t": 1, "x": bytes(8)}))
    for payload in (
        b"\x91" * 512,
        b"\xdc\x00\x40" * 170,
        b"\x81\xa1q" * 170,
        b"\x81\xa1q\xdc\x00\x14" + b"\x80" * 500,
        nested(2, 20)[:512],
    ):
        assert cost(decode, payload) < 200 * good


@pytest.mark.parametrize("size", [0, 600])
@pytest.mark.parametrize(
    "extension", [b"\xd4\x05a", b"\xd6\xff\0\0\0\1", b"\xd7\xff" + bytes(8), b"\xc7\x00\x05", b"\xc7\x00\xff", b"\xc7\x0c\xff" + bytes(12)]
)
def test_extension_types_are_refused_as_values(extension, size):
    body = b"\x83\xa3pad\xc5" + struct.pack(">H", size) + bytes(size)
    for key in (b"\xa1v", b"\xa3seq", b"\xa1x"):
        refusal = attempt(telemetry(), body + key + extension + b"\xa1t\x01")
        assert refusal is not None
        assert refusal.reason is Reason.MALFORMED


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.integers(-2, 9),
    st.floats(),
    st.text(max_size=9),
    st.binary(max_size=24),
)


def outcome(payload):
    block = Block(2, 8)
    block.received_ns = 1 << 40
    refusal = attempt(lambda payload: TelemetryCodec(2, 8, 4096).decode(payload, block), payload)
    return (block.n, block.seq, block.rows.tobytes(), block.stamps[: block.n].tolist(), refusal and refusal.reason)


@given(
    st.dictionaries(st.sampled_from(["v", "seq", "t", "dt", "ts", "x", "k"]), SCALARS),
    st.sampled_from(
        [
            {},
            {"v": 1},
            {"v": 1, "x": bytes(8)},
            {"v": 1, "x": bytes(16), "dt": 5},
            {"v": 1, "x": bytes(16), "ts": bytes(8) + b"\1" + bytes(7)},
        ]
    ),
)
def test_a_message_means_the_same_whatever_its_size(fields, good):
    """Small maps are decoded whole and large ones field by field; an unknown field makes the one into the other."""
    for message in ({**fields, **good}, {**good, **fields}):
        assert outcome(msgpack.packb(message)) == outcome(msgpack.packb({"pad": PAD, **message}))


@given(
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=20
    )
)
def test_whatever_an_unknown_field_holds_is_ignored(value):
    message = {"v": 1, "seq": 3, "x": struct.pack("<2f", 1, 2), "new": value}
    for payload in (msgpack.packb(message), msgpack.packb({"pad": PAD, **message})):
        assert outcome(payload)[:2] == (1, 3)


def test_a_refused_message_leaves_the_next_one_alone():
    codec, block = TelemetryCodec(2, 8, 4096), Block(2, 8)
    good = msgpack.packb({"v": 1, "seq": 5, "t": 9, "x": struct.pack("<2f", 1, 2), "pad": PAD})
    for bad in (good[:-1], good + b"\0", b"\xdf\xff\xff\xff\xff" + PAD, bytes(4097), b"\x91" * 2000):
        with contextlib.suppress(Reject):
            codec.decode(bad, block)
        codec.decode(good, block)
        assert (block.n, block.seq, block.stamps[0], block.rows[0].tolist()) == (1, 5, 9, [1, 2])


def test_a_large_scan_comes_through_whole():
    points = np.arange(4 * 5000, dtype="<f4").reshape(5000, 4)
    message = {"v": 1, "seq": 1, "t": 2, "n": 5000, "fields": ["x", "y", "z", "ring"], "x": points.tobytes()}
    scan = ScanCodec(5000, MAX_BYTES).decode(msgpack.packb(message), 0)
    assert (scan.points == points).all()
    assert (scan.fields, scan.seq, scan.stamp_ns) == (("x", "y", "z", "ring"), 1, 2)
    refusal = attempt(lambda payload: ScanCodec(4999, MAX_BYTES).decode(payload, 0), msgpack.packb(message))
    assert refusal is not None
    assert refusal.reason is Reason.TOO_MANY_ROWS
