"""The samples of a window in order of size: median, quantiles, interquartile range, median absolute deviation.

A list of sorted blocks. A value is found by bisection, O(log W); putting it in or taking it out moves at most one block, which is of
twice the square root of the window's rows (layout.sorted_shape): with 4 bytes a sample, that is one to four cache lines more than a
balanced tree touches, and none of its misses. A full block is split, and two neighbours that fit into half a block are joined: there
are never more than four blocks for each block's worth of values, and a block that was split or joined has a long way to the next time.

Source: "sorted list of lists", as in Grant Jenks' sortedcontainers; quantiles: Hyndman and Fan, "Sample Quantiles in Statistical
Packages", 1996, definition 7 (NumPy's and R's default).
"""

from typing import Any

import numpy as np

from edge.kernels.jit import part
from edge.kernels.layout import E_FEATURE, E_NUMBER, E_OPERATION, OP_IQR, OP_QUANTILE
from edge.kernels.memory import move_within

# A list's int64 state: number of blocks, then three tables of as many entries as there can be blocks: the places of the blocks in order,
# their counts in the same order, and the places that are free. A block's place says where its values are in the float32 state.
_BLOCKS, _TABLES = 0, 1
_COUNTED = 256


@part
def clear_order(i64: Any, at: int, blocks: int) -> None:
    """Make the list empty."""
    i64[at + _BLOCKS] = 1
    for b in range(blocks):
        i64[at + _TABLES + b] = b
        i64[at + _TABLES + blocks + b] = 0
        i64[at + _TABLES + 2 * blocks + b] = b  # the first ``n`` are taken; from there on they are free


@part
def _find(f32: Any, i64: Any, values: int, order: int, counts: int, n: int, size: int, value: float) -> int:
    """The first block whose greatest value is not below ``value``, or the last one."""
    low = 0
    high = n - 1
    while low < high:
        middle = (low + high) >> 1
        if f32[values + i64[order + middle] * size + i64[counts + middle] - 1] < value:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _lower_bound(f32: Any, start: int, count: int, value: float) -> int:
    """How many of ``count`` sorted values are below ``value``.

    The last 256 are compared one by one, eight at a time in vector instructions: 31 ns, where bisection takes 120 ns, each step waiting for
    the one before. No branch depends on a value: random ones would be guessed wrong.
    """
    low = start
    while count > _COUNTED:
        half = count >> 1
        low += half * int(f32[low + half - 1] < value)
        count -= half
    below = np.int32(0)
    for k in range(low, low + count):
        below += np.int32(f32[k] < value)
    return low - start + int(below)


@part
def _insert(f32: Any, i64: Any, values: int, at: int, blocks: int, size: int, value: float) -> None:
    order = at + _TABLES
    counts = order + blocks
    free = counts + blocks
    n = i64[at + _BLOCKS]
    b = _find(f32, i64, values, order, counts, n, size, value)
    if i64[counts + b] == size:  # split: the upper half goes to a free block behind this one
        for k in range(n, b + 1, -1):
            i64[order + k] = i64[order + k - 1]
            i64[counts + k] = i64[counts + k - 1]
        half = size >> 1
        place = i64[free + n]
        source = values + i64[order + b] * size + half
        move_within(f32, values + place * size, source, half)
        i64[order + b + 1] = place
        i64[counts + b + 1] = half
        i64[counts + b] = half
        i64[at + _BLOCKS] = n + 1
        if f32[source - 1] < value:
            b += 1
    start = values + i64[order + b] * size
    count = i64[counts + b]
    where = start + _lower_bound(f32, start, count, value)
    move_within(f32, where + 1, where, start + count - where)
    f32[where] = value
    i64[counts + b] = count + 1


@part
def _remove(f32: Any, i64: Any, values: int, at: int, blocks: int, size: int, value: float) -> None:
    order = at + _TABLES
    counts = order + blocks
    n = i64[at + _BLOCKS]
    b = _find(f32, i64, values, order, counts, n, size, value)
    start = values + i64[order + b] * size
    count = i64[counts + b] - 1
    where = start + _lower_bound(f32, start, count + 1, value)
    move_within(f32, where, where + 1, start + count - where)
    i64[counts + b] = count
    if n > 1:
        if b + 1 < n and (count == 0 or count + i64[counts + b + 1] <= size >> 1):
            _join(f32, i64, values, at, blocks, size, b)
        elif b > 0 and (count == 0 or count + i64[counts + b - 1] <= size >> 1):
            _join(f32, i64, values, at, blocks, size, b - 1)


@part
def _replace(f32: Any, start: int, count: int, old: float, new: float) -> None:
    """Take one value out of a block and put another one in: only what is between their places moves."""
    out = start + _lower_bound(f32, start, count, old)
    to = start + _lower_bound(f32, start, count, new)
    if to > out:
        move_within(f32, out, out + 1, to - 1 - out)
        f32[to - 1] = new
    else:
        move_within(f32, to + 1, to, out - to)
        f32[to] = new


@part
def _join(f32: Any, i64: Any, values: int, at: int, blocks: int, size: int, b: int) -> None:
    """Append block b + 1 to block b."""
    order = at + _TABLES
    counts = order + blocks
    n = i64[at + _BLOCKS]
    place = i64[order + b + 1]
    target = values + i64[order + b] * size + i64[counts + b]
    move_within(f32, target, values + place * size, i64[counts + b + 1])
    i64[counts + b] += i64[counts + b + 1]
    for k in range(b + 1, n - 1):
        i64[order + k] = i64[order + k + 1]
        i64[counts + k] = i64[counts + k + 1]
    i64[counts + blocks + n - 1] = place
    i64[at + _BLOCKS] = n - 1


@part
def _at(f32: Any, i64: Any, values: int, at: int, blocks: int, size: int, rank: int) -> float:
    """The value of a rank, 0 for the least."""
    order = at + _TABLES
    counts = order + blocks
    b = 0
    while rank >= i64[counts + b]:
        rank -= i64[counts + b]
        b += 1
    return np.float64(f32[values + i64[order + b] * size + rank])


@part
def _quantile(f32: Any, i64: Any, values: int, at: int, blocks: int, size: int, n: int, q: float) -> float:
    place = q * (n - 1)
    rank = int(place)
    low = _at(f32, i64, values, at, blocks, size, rank)
    rest = place - rank
    return low if rest == 0.0 else low + rest * (_at(f32, i64, values, at, blocks, size, rank + 1) - low)


@part
def _mad(f32: Any, i64: Any, values: int, at: int, blocks: int, size: int, n: int) -> float:
    """Median distance from the median: in the middle of two sorted lists, distances down from it and up from it."""
    median = _quantile(f32, i64, values, at, blocks, size, n, 0.5)
    below = n >> 1  # as many values are on the lower side; the middle one of an odd number is on the upper side, at distance 0
    half = n >> 1
    # How many of the ``half`` least distances are on the lower side: bisection for where the two lists meet.
    low = max(0, half - (n - below))
    high = min(below, half)
    while low < high:
        taken = (low + high) >> 1
        down = median - _at(f32, i64, values, at, blocks, size, below - 1 - taken)
        up = _at(f32, i64, values, at, blocks, size, below + half - taken - 1) - median
        if down < up:
            low = taken + 1
        else:
            high = taken
    others = half - low
    next_distance = np.inf
    if low < below:
        next_distance = median - _at(f32, i64, values, at, blocks, size, below - 1 - low)
    if below + others < n:
        next_distance = min(next_distance, _at(f32, i64, values, at, blocks, size, below + others) - median)
    if n & 1:
        return next_distance
    last = 0.0
    if low > 0:
        last = median - _at(f32, i64, values, at, blocks, size, below - low)
    if others > 0:
        last = max(last, _at(f32, i64, values, at, blocks, size, below + others - 1) - median)
    return 0.5 * (last + next_distance)


@part
def move_order(
    f32: Any, i64: Any, x: int, mask: int, at: int, state: int, blocks: int, size: int, before: int, heads: Any, tail: int, n: int,
    due: Any, dues: int, entries: Any, e0: int, e1: int, numbers: Any, values: Any, width: int,
) -> None:  # fmt: skip
    """Order statistics. ``at``: values in f32; ``state``: the list in i64; otherwise as in edge.kernels.sums."""
    k = 0
    for r in range(n):
        i = tail + r
        value = f32[x + (i & mask)]
        if blocks == 1 and heads[r] == before + 1:
            _replace(f32, at, i64[state + _TABLES + blocks], f32[x + (before & mask)], value)
        else:
            for j in range(before, heads[r]):
                _remove(f32, i64, at, state, blocks, size, f32[x + (j & mask)])
            _insert(f32, i64, at, state, blocks, size, value)
        before = heads[r]
        if k < dues and due[k] == r:
            rows = i + 1 - before
            for e in range(e0, e1):
                operation = entries[e, E_OPERATION]
                if operation == OP_QUANTILE:
                    result = _quantile(f32, i64, at, state, blocks, size, rows, numbers[entries[e, E_NUMBER]])
                elif operation == OP_IQR:
                    result = _quantile(f32, i64, at, state, blocks, size, rows, 0.75) - _quantile(
                        f32, i64, at, state, blocks, size, rows, 0.25
                    )
                else:
                    result = _mad(f32, i64, at, state, blocks, size, rows)
                values[k * width + entries[e, E_FEATURE]] = result
            k += 1
