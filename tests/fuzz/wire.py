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

EDGES = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\xc0", b"\xc1", b"\xc7", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xd3\x80\0\0\0\0\0\0\0"]
EDGES += [
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 1100,
    b"[" * 1100,
    b'{"a":' * 300,
    b"1e999",
    b"-0",
    b"null",
    b"9" * 400,
]


def seeds():
    x = struct.pack("<4f", 1, -2, 3e38, 0)
    yield 0, msgpack.packb({"v": 1, "seq": 1, "t": 10**18, "x": x[:8]})
    yield 0, msgpack.packb({"v": 1, "seq": 1, "t": 10**18, "dt": 10**6, "x": x})
    yield 0, msgpack.packb({"v": 1, "t": 5, "ts": struct.pack("<2q", 0, 9), "x": x, "new": [1, {"a": None}]})
    yield 1, json.dumps({"a": 1.5, "b": -3, "seq": 4, "t": 12345}).encode()
    yield 1, json.dumps({"a": [1, 2], "b": [3, 4], "seq": 4, "dt": 10, "deep": {"x": [[1]]}}).encode()
    yield 2, msgpack.packb({"v": 1, "seq": 1, "t": 5, "n": 1, "fields": ["x", "y", "z", "i"], "x": x})


def mutate(rng, payload):
    data = bytearray(payload)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            data[at:at] = rng.choice(EDGES)
        else:
            data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randrange(1, 20)]
    return bytes(data)


def run(cases, seed):
    """Outcome counts of so many cases; anything but a decoded message or a Reject escapes as what it is."""
    rng = random.Random(seed)
    block = Block(2, 8)
    telemetry, fields, scans = TelemetryCodec(2, 8, 2048), JsonCodec(("a", "b"), {}, 1, 8, 2048), ScanCodec(8, 2048)
    pool = list(seeds())
    counts = Counter()
    for _ in range(cases):
        kind, payload = rng.choice(pool)
        payload = mutate(rng, payload)
        try:
            if kind == 2:
                scans.decode(payload, 0)
            else:
                (fields if kind else telemetry).decode(payload, block)
                assert 1 <= block.n <= 8
                assert block.seq >= -1
            counts["used"] += 1
        except Reject as reject:
            counts[reject.reason.value] += 1
    return counts


if __name__ == "__main__":
    for reason, count in run(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, seed=random.randrange(1 << 32)).most_common():
        sys.stdout.write(f"{count:9d} {reason}\n")
