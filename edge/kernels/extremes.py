"""Least and greatest sample of a window, and where they are. Two stacks, and the arguments of the passes, as in edge.kernels.sums."""

from typing import Any

import numpy as np

from edge.kernels.jit import part
from edge.kernels.layout import CHUNK, E_FEATURE, E_OPERATION, OP_ARGMIN, OP_MAX, OP_MIN, OP_P2P
from edge.kernels.sums import due_before, stretch

_SECONDS = 1e-9


@part
def move_extrema(
    f32: Any, x: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int, due: Any, dues: int, work: Any,
    entries: Any, e0: int, e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """Minimum, maximum, peak to peak, and crest factor (which finds the rms already in its place). State is float32, as the samples."""
    lows = at + 2
    highs = lows + fmask + 1
    low = f32[at]
    high = f32[at + 1]
    k = 0
    r = 0
    while r < n:
        i = tail + r
        mid = mids[r]
        if mid == i:
            low = np.float32(np.inf)
            high = np.float32(-np.inf)
            for j in range(i - 1, heads[r] - 1, -1):
                sample = f32[x + (j & mask)]
                low = sample if sample < low else low
                high = sample if sample > high else high
                f32[lows + (j & fmask)] = low
                f32[highs + (j & fmask)] = high
            low = f32[x + (i & mask)]
            high = low
        stop = stretch(mids, r, n)
        for q in range(r, stop):
            sample = f32[x + ((tail + q) & mask)]
            low = sample if sample < low else low
            high = sample if sample > high else high
            work[q] = low
            work[CHUNK + q] = high
        last = due_before(due, k, dues, stop)
        for v in range(k, last):
            q = due[v]
            head = heads[q]
            least = work[q]
            most = work[CHUNK + q]
            front_low = np.float64(f32[lows + (head & fmask)]) if head < mid else least
            front_high = np.float64(f32[highs + (head & fmask)]) if head < mid else most
            work[2 * CHUNK + v] = front_low if front_low < least else least
            work[3 * CHUNK + v] = front_high if front_high > most else most
        k = last
        r = stop
    f32[at] = low
    f32[at + 1] = high
    for e in range(e0, e1):
        operation = entries[e, E_OPERATION]
        feature = entries[e, E_FEATURE]
        if operation == OP_MIN:
            for v in range(dues):
                values[v * width + feature] = work[2 * CHUNK + v]
        elif operation == OP_MAX:
            for v in range(dues):
                values[v * width + feature] = work[3 * CHUNK + v]
        elif operation == OP_P2P:
            for v in range(dues):
                values[v * width + feature] = work[3 * CHUNK + v] - work[2 * CHUNK + v]
        else:
            for v in range(dues):
                rms = np.float64(values[v * width + feature])
                values[v * width + feature] = max(abs(work[2 * CHUNK + v]), abs(work[3 * CHUNK + v])) / rms if rms > 0.0 else 0.0


@part
def move_places(
    f32: Any, i64: Any, x: int, stamps: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int, due: Any, dues: int,
    entries: Any, e0: int, e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """How long ago the extremes were, the latest of equal ones. State: numbers of rows, int64."""
    lows = at + 2
    highs = lows + fmask + 1
    low = i64[at]
    high = i64[at + 1]
    k = 0
    for r in range(n):
        i = tail + r
        value = f32[x + (i & mask)]
        head = heads[r]
        mid = mids[r]
        if mid == i:
            low = i - 1
            high = i - 1
            for j in range(i - 1, head - 1, -1):
                v = f32[x + (j & mask)]
                low = j if v < f32[x + (low & mask)] else low
                high = j if v > f32[x + (high & mask)] else high
                i64[lows + (j & fmask)] = low
                i64[highs + (j & fmask)] = high
            low = i
            high = i
        low = i if value <= f32[x + (low & mask)] else low
        high = i if value >= f32[x + (high & mask)] else high
        if k < dues and due[k] == r:
            least = low
            most = high
            if head < mid:
                j = i64[lows + (head & fmask)]
                least = j if f32[x + (j & mask)] < f32[x + (least & mask)] else least
                j = i64[highs + (head & fmask)]
                most = j if f32[x + (j & mask)] > f32[x + (most & mask)] else most
            now = i64[stamps + (i & mask)]
            for e in range(e0, e1):
                where = least if entries[e, E_OPERATION] == OP_ARGMIN else most
                values[k * width + entries[e, E_FEATURE]] = (now - i64[stamps + (where & mask)]) * _SECONDS
            k += 1
    i64[at] = low
    i64[at + 1] = high
