"""Decoding a stream: the kernel beside the `cobs` package with zlib.crc32 in a loop, and beside sliplib; one run, one table.

All take the same frames apart, check a CRC of 32 bits and read the header. `to frames` makes a Frame with its payload of each as well.
Rates are by the thread's own time on the processor, so what else runs here costs little; the last column is by the wall clock.
"""

import statistics
import time
import zlib
from collections.abc import Callable
from struct import Struct

import numpy as np
import sliplib
from cobs import cobs

from firmware_bridge.framing import Decoder, Frame, encode, header
from firmware_bridge.messages import Telemetry

HEADER, U32 = Struct("<BBBBHHQ"), Struct("<I")
REPEATS = 7
ROUND_NS = 100_000_000


def frames(rows: int) -> list[bytes]:
    rng = np.random.default_rng(1)
    count = 60_000 // (40 + 32 * rows)
    return [
        header(0x10, 0, 1, i, i * 1000, Telemetry(i, 10**6, rows, 8, 0, rng.normal(size=8 * rows).astype("<f4").tobytes()).pack())
        for i in range(count)
    ]


def by_package(line: bytes, end: bytes, decode: Callable[[bytes], bytes]) -> int:
    good = 0
    for part in line.split(end):
        if part:
            raw = decode(part)
            if zlib.crc32(raw[:-4]) == U32.unpack(raw[-4:])[0]:
                HEADER.unpack_from(raw)
                good += 1
    return good


def frames_by_package(line: bytes, end: bytes, decode: Callable[[bytes], bytes]) -> int:
    found = []
    for part in line.split(end):
        if part:
            raw = decode(part)
            if zlib.crc32(raw[:-4]) == U32.unpack(raw[-4:])[0]:
                _, kind, flags, stream, seq, length, stamp = HEADER.unpack_from(raw)
                found.append(Frame(kind, flags, stream, seq, stamp, raw[16 : 16 + length]))
    return len(found)


def measure(call: Callable[[], int], count: int) -> tuple[list[float], float]:
    """Frames a second of the thread's time, one value a round; and the median by the wall clock."""
    call()
    rates, walls = [], []
    for _ in range(REPEATS):
        wall, start, n = time.perf_counter_ns(), time.thread_time_ns(), 0
        while time.thread_time_ns() - start < ROUND_NS:
            assert call() == count  # noqa: S101
            n += count
        rates.append(n / (time.thread_time_ns() - start) * 1e9)
        walls.append(n / (time.perf_counter_ns() - wall) * 1e9)
    return rates, statistics.median(walls)


def main() -> None:
    print(f"{'rows':>4} {'way':<28} {'MB/s':>7} {'frames/s':>11} {'min..max':>24} {'times':>6} {'by wall':>11}")
    for rows in (1, 10):
        plain = frames(rows)
        count = len(plain)
        checked = [frame + U32.pack(zlib.crc32(frame)) for frame in plain]
        ours = b"".join(map(encode, plain))
        stuffed = b"".join(cobs.encode(frame) + b"\0" for frame in checked)
        slip = b"".join(sliplib.encode(frame) + sliplib.END for frame in checked)
        decoder, whole = Decoder(), Decoder()
        decoder.input[: len(ours)] = ours
        ways: tuple[tuple[str, Callable[[], int], int], ...] = (
            ("cobs + zlib.crc32", lambda: by_package(stuffed, b"\0", cobs.decode), len(stuffed)),  # noqa: B023
            ("kernel, to a table", lambda: decoder.table(len(ours)).shape[1], len(ours)),  # noqa: B023
            ("sliplib + zlib.crc32", lambda: by_package(slip, sliplib.END, sliplib.decode), len(slip)),  # noqa: B023
            ("cobs + zlib.crc32, to frames", lambda: frames_by_package(stuffed, b"\0", cobs.decode), len(stuffed)),  # noqa: B023
            ("kernel, to frames", lambda: len(whole.feed(ours)), len(ours)),  # noqa: B023
        )
        base = 0.0
        for name, call, size in ways:
            rates, wall = measure(call, count)
            middle = statistics.median(rates)
            base = middle if name.startswith("cobs") else base
            spread = f"{min(rates):,.0f}..{max(rates):,.0f}"
            print(
                f"{rows:>4} {name:<28} {middle * size / count / 1e6:7.1f} {middle:11,.0f} {spread:>24} {middle / base:6.1f} {wall:11,.0f}"
            )


if __name__ == "__main__":
    main()
