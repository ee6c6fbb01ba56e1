"""Decoding a stream: the kernel beside the `cobs` package with zlib.crc32 in a loop, and beside sliplib; one run, one table.

All three take the same frames apart, check a CRC of 32 bits and read the header. `to messages` also makes the Python objects.
"""

import statistics
import time
import zlib
from struct import Struct

import numpy as np
import sliplib
from cobs import cobs

from firmware_bridge.framing import Decoder, encode, header
from firmware_bridge.messages import Telemetry

HEADER, U32 = Struct("<BBBBHHQ"), Struct("<I")
REPEATS = 7


def frames(rows: int) -> list[bytes]:
    rng = np.random.default_rng(1)
    count = 60_000 // (40 + 32 * rows)
    return [
        header(0x10, 0, 1, i, i * 1000, Telemetry(i, 10**6, rows, 8, 0, rng.normal(size=8 * rows).astype("<f4").tobytes()).pack())
        for i in range(count)
    ]


def by_cobs(line: bytes) -> int:
    good = 0
    for part in line.split(b"\0"):
        if part:
            raw = cobs.decode(part)
            if zlib.crc32(raw[:-4]) == U32.unpack(raw[-4:])[0]:
                HEADER.unpack_from(raw)
                good += 1
    return good


def by_slip(line: bytes) -> int:
    good = 0
    for part in line.split(sliplib.END):
        if part:
            raw = sliplib.decode(part)
            if zlib.crc32(raw[:-4]) == U32.unpack(raw[-4:])[0]:
                HEADER.unpack_from(raw)
                good += 1
    return good


def measure(call, size: int, count: int) -> tuple[float, float, float, float]:
    call()
    rates = []
    for _ in range(REPEATS):
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < 0.15:
            assert call() == count  # noqa: S101
            n += 1
        rates.append(n / (time.perf_counter() - start))
    middle = statistics.median(rates)
    return middle * size / 1e6, middle * count, min(rates) * size / 1e6, max(rates) * size / 1e6


def main() -> None:
    print(f"{'rows':>4} {'way':<32} {'MB/s':>7} {'min..max':>14} {'frames/s':>10}")
    for rows in (1, 10):
        plain = frames(rows)
        checked = [frame + U32.pack(zlib.crc32(frame)) for frame in plain]
        ours = b"".join(map(encode, plain))
        stuffed = b"".join(cobs.encode(frame) + b"\0" for frame in checked)
        slip = b"".join(sliplib.encode(frame) + sliplib.END for frame in checked)
        decoder, whole = Decoder(), Decoder()
        decoder.input[: len(ours)] = ours
        ways = (
            ("kernel, to a table", lambda: len(decoder.table(len(ours))), len(ours)),  # noqa: B023
            ("kernel, to messages", lambda: len(whole.feed(ours)), len(ours)),  # noqa: B023
            ("cobs package + zlib.crc32", lambda: by_cobs(stuffed), len(stuffed)),  # noqa: B023
            ("sliplib + zlib.crc32", lambda: by_slip(slip), len(slip)),  # noqa: B023
        )
        for name, call, size in ways:
            mb, per_s, low, high = measure(call, size, len(plain))
            print(f"{rows:>4} {name:<32} {mb:7.1f} {low:6.1f}..{high:<6.1f} {per_s:10,.0f}", flush=True)


if __name__ == "__main__":
    main()
