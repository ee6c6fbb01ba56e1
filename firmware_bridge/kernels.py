"""Numba kernels: a block of bytes from the line to checked frames in one pass. Owns the hot loop of receiving.

Slicing-by-8 CRC-32C: 8 table look-ups for 8 bytes that do not wait for each other; a byte at a time costs four times as much.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from firmware_bridge.jit import kernel
from firmware_bridge.protocol import CRC_BYTES, HEADER_BYTES, MAX_FRAME, VERSION

Bytes = npt.NDArray[np.uint8]

# Columns of the frame table.
AT, LENGTH, TYPE, FLAGS, STREAM, SEQ, STAMP = range(7)
COLUMNS = 7
# State between blocks.
START, FILL, CODE, LEFT, BAD, RECEIVED = range(6)
STATE = 6
# Indices into protocol.REASONS, in the order of the checks; the session finds the later ones.
OVERSIZED, COBS, SHORT, CRC, WRONG_VERSION, WRONG_LENGTH = range(6)
_TRAILER = 12


def _tables() -> npt.NDArray[np.uint32]:
    tables = np.zeros((8, 256), np.uint32)
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        tables[0, value] = crc
    for k in range(1, 8):
        previous = tables[k - 1]
        tables[k] = (previous >> 8) ^ tables[0, previous & 0xFF]
    return tables


TABLES: Final = _tables()


@kernel("uint32(uint32[:,::1], uint8[::1], int64, int64)")
def crc32c(tables: npt.NDArray[np.uint32], data: Bytes, start: int, end: int) -> int:
    """CRC-32C of ``data[start:end]``."""
    crc: Any = np.uint32(0xFFFFFFFF)
    i = start
    mask = np.uint32(0xFF)
    while i + 8 <= end:
        low = crc ^ (
            np.uint32(data[i])
            | np.uint32(data[i + 1]) << np.uint32(8)
            | np.uint32(data[i + 2]) << np.uint32(16)
            | np.uint32(data[i + 3]) << np.uint32(24)
        )
        crc = (
            tables[7, low & mask]
            ^ tables[6, (low >> np.uint32(8)) & mask]
            ^ tables[5, (low >> np.uint32(16)) & mask]
            ^ tables[4, low >> np.uint32(24)]
            ^ tables[3, data[i + 4]]
            ^ tables[2, data[i + 5]]
            ^ tables[1, data[i + 6]]
            ^ tables[0, data[i + 7]]
        )
        i += 8
    while i < end:
        crc = tables[0, (crc ^ np.uint32(data[i])) & mask] ^ (crc >> np.uint32(8))
        i += 1
    whole: int = np.uint32(crc ^ np.uint32(0xFFFFFFFF))
    return whole


@kernel("int64(uint32[:,::1], uint8[::1], int64, int64)")
def check(tables: npt.NDArray[np.uint32], out: Bytes, start: int, end: int) -> int:
    """-1 when ``out[start:end]`` is a whole frame, otherwise the reason."""
    n = end - start
    if n < HEADER_BYTES + CRC_BYTES:
        return SHORT
    tail = end - CRC_BYTES
    told = (
        np.uint32(out[tail])
        | np.uint32(out[tail + 1]) << np.uint32(8)
        | np.uint32(out[tail + 2]) << np.uint32(16)
        | np.uint32(out[tail + 3]) << np.uint32(24)
    )
    if crc32c(tables, out, start, tail) != told:
        return CRC
    if out[start] != VERSION:
        return WRONG_VERSION
    length = np.int64(out[start + 6]) | np.int64(out[start + 7]) << 8
    trailer = _TRAILER if out[start + 2] & 1 else 0
    if n != HEADER_BYTES + length + trailer + CRC_BYTES:
        return WRONG_LENGTH
    return -1


@kernel("int64(uint32[:,::1], uint8[::1], int64, uint8[::1], int64[:,::1], int64[::1], int64[::1])")
def decode(  # noqa: C901, PLR0915 - one bare loop
    tables: npt.NDArray[np.uint32],
    data: Bytes,
    n: int,
    out: Bytes,
    frames: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
    refused: npt.NDArray[np.int64],
) -> int:
    """Take ``data[:n]`` apart.

    Args:
        tables: ``TABLES``.
        data: from the line, in pieces of any size.
        n: valid bytes.
        out: frames without COBS, one behind the other; at least ``MAX_FRAME + n`` bytes. The unfinished one of the last call is
            in there still, and is moved to the start.
        frames: (m, COLUMNS), m >= n // 21 + 1: where each good frame lies in ``out`` and what its header says.
        state: (STATE,), kept from call to call, zeros at first.
        refused: counters by reason.

    Returns:
        Number of good frames.
    """
    count = 0
    fill: Any = state[FILL] - state[START]
    for k in range(fill):
        out[k] = out[state[START] + k]
    start: Any = np.int64(0)  # of the frame that is being filled
    code: Any = state[CODE]
    left: Any = state[LEFT]
    bad: Any = state[BAD]
    i: Any = np.int64(0)
    while i < n:
        byte: Any = np.int64(data[i])
        i += 1
        if byte == 0:
            if code:
                state[RECEIVED] += 1
                if bad:
                    reason: Any = np.int64(OVERSIZED)
                elif left:
                    reason = np.int64(COBS)
                else:
                    reason = check(tables, out, start, fill)
                if reason < 0:
                    frames[count, AT] = start
                    frames[count, LENGTH] = np.int64(out[start + 6]) | np.int64(out[start + 7]) << 8
                    frames[count, TYPE] = out[start + 1]
                    frames[count, FLAGS] = out[start + 2]
                    frames[count, STREAM] = out[start + 3]
                    frames[count, SEQ] = np.int64(out[start + 4]) | np.int64(out[start + 5]) << 8
                    stamp = np.int64(0)
                    for k in range(8):
                        stamp |= np.int64(out[start + 8 + k]) << (8 * k)
                    frames[count, STAMP] = stamp
                    count += 1
                    start = fill
                else:
                    refused[reason] += 1
                    fill = start
            code = left = bad = np.int64(0)
            fill = start
        elif bad:
            continue
        elif left:
            # A run: copied without asking for each byte where it belongs.
            i -= 1
            run = min(left, n - i)
            if fill - start + run > MAX_FRAME:
                bad = np.int64(1)
                continue
            k = np.int64(0)
            while k < run:
                byte = np.int64(data[i + k])
                if byte == 0:
                    break
                out[fill + k] = byte
                k += 1
            fill += k
            i += k
            left -= k
        else:
            if code != 0 and code != 255:
                if fill - start >= MAX_FRAME:
                    bad = np.int64(1)
                    continue
                out[fill] = 0
                fill += 1
            code = byte
            left = np.int64(byte - 1)
    state[START], state[FILL] = start, fill
    state[CODE], state[LEFT], state[BAD] = code, left, bad
    return count
