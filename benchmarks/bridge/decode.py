"""Decoding a stream: the kernel beside the `cobs` package with zlib.crc32 in a loop, and beside sliplib; one run, one table.

All take the same frames apart, check a CRC of 32 bits and read the header. `to frames` makes a Frame with its payload of each as well.
Rates are by the thread's own time on the processor; the last column is by the wall clock. The ways take turns, ratios are taken within a
round: another process that fills the caches slows all of them.
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
ROUNDS = 15
TURN_NS = 40_000_000


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


def turn(call: Callable[[], int], count: int) -> tuple[float, float]:
    """Frames a second by the thread's time, and by the wall clock."""
    wall, start, n = time.perf_counter_ns(), time.thread_time_ns(), 0
    while time.thread_time_ns() - start < TURN_NS:
        assert call() == count  # noqa: S101
        n += count
    return n / (time.thread_time_ns() - start) * 1e9, n / (time.perf_counter_ns() - wall) * 1e9


def ways(plain: list[bytes]) -> list[tuple[str, Callable[[], int], int]]:
    """Name, call that returns a number of frames, bytes on the line; those of one unit begin with the one they are compared with."""
    checked = [frame + U32.pack(zlib.crc32(frame)) for frame in plain]
    ours = b"".join(map(encode, plain))
    stuffed = b"".join(cobs.encode(frame) + b"\0" for frame in checked)
    slip = b"".join(sliplib.encode(frame) + sliplib.END for frame in checked)
    decoder, whole = Decoder(), Decoder()
    decoder.input[: len(ours)] = ours
    return [
        ("cobs + zlib.crc32", lambda: by_package(stuffed, b"\0", cobs.decode), len(stuffed)),
        ("kernel, to a table", lambda: decoder.table(len(ours)).shape[1], len(ours)),
        ("sliplib + zlib.crc32", lambda: by_package(slip, sliplib.END, sliplib.decode), len(slip)),
        ("cobs + zlib.crc32, to frames", lambda: frames_by_package(stuffed, b"\0", cobs.decode), len(stuffed)),
        ("kernel, to frames", lambda: len(whole.feed(ours)), len(ours)),
    ]


def main() -> None:
    print(f"{'rows':>4} {'way':<28} {'MB/s':>7} {'frames/s':>10} {'min..max':>21} {'times':>5} {'min..max':>10} {'by wall':>10}")
    for rows in (1, 10):
        plain = frames(rows)
        count = len(plain)
        all_ways = ways(plain)
        rounds = [[turn(call, count) for _, call, _ in all_ways] for _ in range(ROUNDS + 1)][1:]
        base = 0
        for k, (name, _, size) in enumerate(all_ways):
            base = k if name.startswith("cobs") else base
            rates = [entry[k][0] for entry in rounds]
            times = [entry[k][0] / entry[base][0] for entry in rounds]
            middle, wall = statistics.median(rates), statistics.median(entry[k][1] for entry in rounds)
            spread, spread_times = f"{min(rates):,.0f}..{max(rates):,.0f}", f"{min(times):.1f}..{max(times):.1f}"
            mb, ratio = middle * size / count / 1e6, statistics.median(times)
            print(f"{rows:>4} {name:<28} {mb:7.1f} {middle:10,.0f} {spread:>21} {ratio:5.1f} {spread_times:>10} {wall:10,.0f}", flush=True)


if __name__ == "__main__":
    main()
