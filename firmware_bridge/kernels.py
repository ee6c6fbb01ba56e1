"""Numba kernels: a block of bytes from the line to checked frames in one pass. Owns the hot loop of receiving.

CRC-32C by the processor's own instruction where it has one (4 GB/s on Zen 4), otherwise slicing-by-8 (1 GB/s): 8 table look-ups for 8
bytes that do not wait for each other. COBS runs are copied 8 bytes at a time, with a look at all 8 for a zero; what is written past the end
of a run is written over by the next one. So all memory has ``PAD`` bytes more than it has content.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from firmware_bridge.jit import kernel
from firmware_bridge.native import HAS_CRC, crc_word, first_bit, load, store
from firmware_bridge.protocol import CRC_BYTES, HEADER_BYTES, MAX_FRAME, VERSION

Bytes = npt.NDArray[np.uint8]

PAD = 8
# Rows of the frame table.
AT, LENGTH, TYPE, FLAGS, STREAM, SEQ, STAMP = range(7)
COLUMNS = 7
# State between blocks.
START, FILL, CODE, LEFT, BAD, RECEIVED = range(6)
STATE = 6
# Indices into protocol.REASONS, in the order of the checks; the session finds the later ones.
OVERSIZED, COBS, SHORT, CRC, WRONG_VERSION, WRONG_LENGTH = range(6)
_TRAILER = 12
_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)
_U8, _U16, _U24, _U32, _U40, _U48, _U56 = (np.uint64(bits) for bits in range(8, 64, 8))
_BYTE, _HALF, _WORD = np.uint64(0xFF), np.uint64(0xFFFF), np.uint64(0xFFFFFFFF)


def _tables() -> npt.NDArray[np.uint64]:
    tables = np.zeros((8, 256), np.uint64)
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        tables[0, value] = crc
    for k in range(1, 8):
        previous = tables[k - 1]
        tables[k] = (previous >> _U8) ^ tables[0, previous & _BYTE]
    return tables


TABLES: Final = _tables()


@kernel("uint32(uint8[::1], int64, int64)")
def crc32c_by_tables(data: Bytes, start: int, end: int) -> int:
    """CRC-32C of ``data[start:end]`` on any processor."""
    crc: Any = _WORD
    i = start
    while i + 8 <= end:
        word: Any = load(data, i) ^ crc
        crc = (
            TABLES[7, word & _BYTE]
            ^ TABLES[6, (word >> _U8) & _BYTE]
            ^ TABLES[5, (word >> _U16) & _BYTE]
            ^ TABLES[4, (word >> _U24) & _BYTE]
            ^ TABLES[3, (word >> _U32) & _BYTE]
            ^ TABLES[2, (word >> _U40) & _BYTE]
            ^ TABLES[1, (word >> _U48) & _BYTE]
            ^ TABLES[0, word >> _U56]
        )
        i += 8
    while i < end:
        crc = TABLES[0, (crc ^ np.uint64(data[i])) & _BYTE] ^ (crc >> _U8)
        i += 1
    whole: Any = np.uint32(crc ^ _WORD)
    return whole  # type: ignore[no-any-return]


def _crc32c_by_processor(data: Bytes, start: int, end: int) -> int:
    crc: Any = _WORD
    i = start
    while i + 8 <= end:
        crc = crc_word(crc, load(data, i))
        i += 8
    while i < end:
        crc = TABLES[0, (crc ^ np.uint64(data[i])) & _BYTE] ^ (crc >> _U8)
        i += 1
    whole: Any = np.uint32(crc ^ _WORD)
    return whole  # type: ignore[no-any-return]


crc32c: Final = kernel("uint32(uint8[::1], int64, int64)")(_crc32c_by_processor) if HAS_CRC else crc32c_by_tables


@kernel("int64(uint8[::1], int64, int64)")
def check(out: Bytes, start: int, end: int) -> int:
    """-1 when ``out[start:end]`` is a whole frame, otherwise the reason."""
    n = end - start
    if n < HEADER_BYTES + CRC_BYTES:
        return SHORT
    tail = end - CRC_BYTES
    if np.uint64(crc32c(out, start, tail)) != load(out, tail) & _WORD:
        return CRC
    head: Any = load(out, start)
    if head & _BYTE != np.uint64(VERSION):
        return WRONG_VERSION
    trailer = _TRAILER if (head >> _U16) & np.uint64(1) else 0
    if n != HEADER_BYTES + np.int64(head >> _U48) + trailer + CRC_BYTES:
        return WRONG_LENGTH
    return -1


@kernel("void(uint8[::1], int64, int64[:,::1], int64)")
def tell(out: Bytes, start: int, frames: npt.NDArray[np.int64], count: int) -> None:
    """What the header of the frame at ``start`` says, to column ``count``."""
    head: Any = load(out, start)
    frames[AT, count] = start
    frames[LENGTH, count] = np.int64(head >> _U48)
    frames[TYPE, count] = np.int64((head >> _U8) & _BYTE)
    frames[FLAGS, count] = np.int64((head >> _U16) & _BYTE)
    frames[STREAM, count] = np.int64((head >> _U24) & _BYTE)
    frames[SEQ, count] = np.int64((head >> _U32) & _HALF)
    frames[STAMP, count] = np.int64(load(out, start + 8))


@kernel("uint64(uint64)")
def has_zero(word: Any) -> Any:
    """Not 0 when one of the 8 bytes is 0; the lowest bit that is set is in the first of them."""
    return (word - _ONES) & ~word & _TOPS


@kernel("int64(uint64)")
def first_zero(word: Any) -> int:
    """Which of the 8 bytes is the first that is 0, or 8."""
    place: int = first_bit(has_zero(word)) >> 3
    return place


@kernel("int64(uint8[::1], int64, uint8[::1], int64, int64)")
def copy_run(data: Bytes, i: int, out: Bytes, fill: int, run: int) -> int:
    """Copy ``data[i:i + run]`` to ``out[fill:]`` up to its first zero; bytes before it, or ``run``."""
    k = 0
    while k < run:
        word: Any = load(data, i + k)
        store(out, fill + k, word)
        if has_zero(word):
            return min(k + first_zero(word), run)
        k += 8
    return run


@kernel("int64(uint8[::1], int64, uint8[::1], int64[:,::1], int64[::1], int64[::1])")
def decode(  # noqa: C901, PLR0915 - one bare loop
    data: Bytes,
    n: int,
    out: Bytes,
    frames: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
    refused: npt.NDArray[np.int64],
) -> int:
    """Take ``data[:n]`` apart.

    Args:
        data: from the line, in pieces of any size; at least ``n + PAD`` bytes.
        n: valid bytes.
        out: frames without COBS, one behind the other; at least ``MAX_FRAME + n + PAD`` bytes. The unfinished one of the last call is
            in there still, and is moved to the start.
        frames: (COLUMNS, m), m >= n // 22 + 1: where each good frame lies in ``out`` and what its header says.
        state: (STATE,), kept from call to call, zeros at first.
        refused: counters by reason.

    Returns:
        Number of good frames; -1 and nothing done when the memory is smaller than that.
    """
    if n < 0 or data.size < n + PAD or out.size < MAX_FRAME + n + PAD or frames.shape[1] < n // 22 + 1:
        return -1
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
        if left and not bad and load(data, i) & _BYTE:
            # A run: copied without asking for each byte where it belongs.
            run = min(left, n - i)
            if fill - start + run > MAX_FRAME:
                bad = np.int64(1)
                continue
            k = copy_run(data, i, out, fill, run)
            fill += k
            i += k
            left -= k
            continue
        byte: Any = np.int64(load(data, i) & _BYTE)
        if byte != 0 and byte <= 9 and not bad and i + byte <= n:
            # A short run in one piece, without a branch that depends on its length: headers are full of zeros.
            at = fill + np.int64(code != 0 and code != 255)
            word: Any = load(data, i + 1)
            if first_zero(word) >= byte - 1 and at - start + byte - 1 <= MAX_FRAME:
                store(out, fill, np.uint64(0))
                store(out, at, word)
                fill = at + byte - 1
                i += byte
                code = byte
                continue
        i += 1
        if byte == 0:
            if code:
                state[RECEIVED] += 1
                if bad:
                    reason: Any = np.int64(OVERSIZED)
                elif left:
                    reason = np.int64(COBS)
                else:
                    reason = check(out, start, fill)
                if reason < 0:
                    tell(out, start, frames, count)
                    count += 1
                    start = fill
                else:
                    refused[reason] += 1
            code = left = bad = np.int64(0)
            fill = start
        elif not bad:
            if code != 0 and code != 255:
                if fill - start >= MAX_FRAME:
                    bad = np.int64(1)
                    continue
                store(out, fill, np.uint64(0))
                fill += 1
            code = byte
            left = np.int64(byte - 1)
    state[START], state[FILL] = start, fill
    state[CODE], state[LEFT], state[BAD] = code, left, bad
    return count
