"""Mutated messages against every decoder: each one decodes or is refused, whatever the bytes.

python -m tests.fuzz.wire 10000000
"""

import json
import random
import struct
import sys
from collections import Counter

import msgpack

from edge.errors import Reject
from edge.messages import Block
from edge.wire.json_fields import JsonCodec
from edge.wire.scan import ScanCodec
from edge.wire.telemetry import TelemetryCodec

MAX_ROWS = 8
MAX_BYTES = 2048
EDGES = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\xc0", b"\xc1", b"\xc7", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xd3\x80\0\0\0\0\0\0\0"]
EDGES += [
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc7\x00\xff",
    b"\xd6\xff\0\0\0\1",
    b"\xd7\xff" + b"\xff" * 8,
    b"\xdc\x00\x10",
]
EDGES += [b"\x91" * 1100, b"\x81\xa1q" * 300, b"\x3f\xff" + b"\xff" * 6, b"\x40" + b"\0" * 7]
EDGES += [b"[" * 1100, b'{"a":' * 300, b"1e999", b"1e300", b"-1e300", b"1e39", b"-0", b"null", b"true", b"9" * 400, b"9" * 19, b"\\ud800"]
PAD = bytes(700)  # takes a message past the size up to which maps are decoded whole


def seeds():
    """Which decoder, and a message that it takes."""
    x = struct.pack("<4f", 1, -2, 3e38, 0)
    yield 0, msgpack.packb({"v": 1, "seq": 1, "t": 10**18, "x": x[:8]})
    yield 0, msgpack.packb({"v": 1, "seq": 1, "t": 10**18, "dt": 10**6, "x": x})
    yield 0, msgpack.packb({"v": 1, "t": 5, "ts": struct.pack("<2q", 0, 9), "x": x, "new": [1, {"a": None}]})
    yield 0, msgpack.packb({"v": 1, "seq": 1, "pad": PAD, "t": 10**18, "dt": 10**6, "new": [{"a": [None] * 9}], "x": x})
    yield 1, json.dumps({"a": 1.5, "b": -3, "seq": 4, "t": 12345}).encode()
    yield 1, json.dumps({"a": [1, 2], "b": [3, 4], "seq": 4, "dt": 10, "deep": {"x": [[1]]}}).encode()
    yield 2, json.dumps({"p": {"x": 1.5, "y": -3, "t": 9.5}, "meta": {"n": 4}}).encode()
    yield 2, json.dumps({"p": {"x": [1, 2], "y": [3, 4], "t": 1e9}, "meta": {"n": 4, "every": 0.25}}).encode()
    yield 3, msgpack.packb({"v": 1, "seq": 1, "t": 5, "n": 1, "fields": ["x", "y", "z", "i"], "x": x})
    yield 3, msgpack.packb({"v": 1, "fields": ["x", "y", "z", "i"], "pad": PAD, "n": 1, "x": x})


def mutate(rng, payload):
    """The payload with up to four bits, bytes or runs changed; one in five as it is."""
    data = bytearray(payload)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            data[at : at + rng.choice((0, 0, 1, 4))] = rng.choice(EDGES)
        else:
            data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randrange(1, 20)]
    return bytes(data)


def run(cases, seed):
    """Outcome counts of so many cases; anything but a decoded message or a Reject escapes as what it is."""
    rng = random.Random(seed)
    block = Block(2, MAX_ROWS)
    paths = {"a": "p.x", "b": "p.y", "seq": "meta.n", "t": "p.t", "dt": "meta.every"}
    decoders = (
        TelemetryCodec(2, MAX_ROWS, MAX_BYTES),
        JsonCodec(("a", "b"), {}, 1, MAX_ROWS, MAX_BYTES),
        JsonCodec(("a", "b"), paths, 1_000_000_000, MAX_ROWS, MAX_BYTES),
    )
    scans = ScanCodec(MAX_ROWS, MAX_BYTES)
    pool = list(seeds())
    counts = Counter()
    for number in range(cases):
        kind, payload = rng.choice(pool)
        payload = rng.randbytes(rng.randrange(40)) if number % 16 == 0 else mutate(rng, payload)
        block.n, block.seq = 0, -2
        try:
            if kind == 3:
                scan = scans.decode(payload, 0)
                assert scan.points.shape[1] == len(scan.fields)
                assert scan.points.shape[0] <= MAX_ROWS
            else:
                decoders[kind].decode(payload, block)
                assert 1 <= block.n <= MAX_ROWS
                assert block.seq >= -1
            counts["used"] += 1
        except Reject as reject:
            assert (block.n, block.seq) == (0, -2)
            counts[reject.reason.value] += 1
    return counts


if __name__ == "__main__":
    for reason, count in run(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, seed=random.randrange(1 << 32)).most_common():
        sys.stdout.write(f"{count:9d} {reason}\n")
