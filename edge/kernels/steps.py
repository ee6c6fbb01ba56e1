"""What is counted, summed or smoothed from row to row. The arguments of the passes are those of edge.kernels.sums.

Counts are whole numbers, so a row's share can be taken out again exactly when it leaves; ``before`` is where the window began before
the chunk. What is not a whole number is kept in two stacks.
"""

from typing import Any

import numpy as np

from edge.kernels.jit import part
from edge.kernels.layout import (
    E_FEATURE,
    E_I,
    E_OPERATION,
    OP_ABOVE,
    OP_ABOVE_OR_AT,
    OP_BELOW,
    OP_BELOW_OR_AT,
    OP_EWMA,
    OP_INTEGRAL,
    OP_SHARE,
)

_SECONDS = 1e-9


@part
def move_path(
    f32: Any, f64: Any, i64: Any, x: int, stamps: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int,
    due: Any, dues: int, entries: Any, e0: int, e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """Trapezoidal integral and rms of the derivative: sums over neighbours. A stack holds the pairs within it, the joint is added."""
    areas = at + 2
    squares = areas + fmask + 1
    area = f64[at]
    square = f64[at + 1]
    k = 0
    for r in range(n):
        i = tail + r
        head = heads[r]
        mid = mids[r]
        if mid == i:
            area = 0.0
            square = 0.0
            for j in range(i - 1, head - 1, -1):
                if j < i - 1:
                    a, q = _pair(f32, i64, x, stamps, mask, j)
                    area += a
                    square += q
                f64[areas + (j & fmask)] = area
                f64[squares + (j & fmask)] = square
            area = 0.0
            square = 0.0
        else:
            a, q = _pair(f32, i64, x, stamps, mask, i - 1)
            area += a
            square += q
        if k < dues and due[k] == r:
            all_area = area
            all_square = square
            if head < mid:
                a, q = _pair(f32, i64, x, stamps, mask, mid - 1)
                all_area += a + f64[areas + (head & fmask)]
                all_square += q + f64[squares + (head & fmask)]
            for e in range(e0, e1):
                if entries[e, E_OPERATION] == OP_INTEGRAL:
                    values[k * width + entries[e, E_FEATURE]] = all_area
                else:
                    values[k * width + entries[e, E_FEATURE]] = np.sqrt(all_square / (i - head)) if i > head else 0.0
            k += 1
    f64[at] = area
    f64[at + 1] = square


@part
def _pair(f32: Any, i64: Any, x: int, stamps: int, mask: int, j: int) -> Any:
    """Area under, and squared slope between, rows j and j + 1."""
    here = np.float64(f32[x + (j & mask)])
    there = np.float64(f32[x + ((j + 1) & mask)])
    dt = (i64[stamps + ((j + 1) & mask)] - i64[stamps + (j & mask)]) * _SECONDS
    slope = (there - here) / dt
    return (here + there) * 0.5 * dt, slope * slope


@part
def move_crossings(
    f32: Any, i64: Any, x: int, mask: int, at: int, before: int, heads: Any, tail: int, n: int, due: Any, dues: int, entries: Any, e0: int,
    e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """Neighbours of which exactly one is negative."""
    count = i64[at]
    k = 0
    for r in range(n):
        i = tail + r
        for j in range(before, heads[r]):
            if j + 1 < i and (f32[x + (j & mask)] < 0.0) != (f32[x + ((j + 1) & mask)] < 0.0):
                count -= 1
        before = heads[r]
        if i > before and (f32[x + ((i - 1) & mask)] < 0.0) != (f32[x + (i & mask)] < 0.0):
            count += 1
        if k < dues and due[k] == r:
            for e in range(e0, e1):
                values[k * width + entries[e, E_FEATURE]] = count
            k += 1
    i64[at] = count


@part
def move_filled(
    i64: Any, marks: int, stamps: int, channel: int, mask: int, at: int, before: int, heads: Any, tail: int, n: int, due: Any, dues: int,
    period: int, span: int, entries: Any, e0: int, e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """Share of the expected samples that were not measured: absent by the nominal rate, or filled in by cleaning.

    Args (beside the common ones):
        marks: bit ``channel`` of a row's mark says filled in.
        period: ns between samples, 0: unknown.
        span: ns of a time window, 0: window by count.
    """
    filled = i64[at]
    k = 0
    for r in range(n):
        i = tail + r
        for j in range(before, heads[r]):
            filled -= (i64[marks + (j & mask)] >> channel) & 1
        before = heads[r]
        filled += (i64[marks + (i & mask)] >> channel) & 1
        if k < dues and due[k] == r:
            there = i + 1 - before
            expected = there
            if period > 0:
                lasts = span if span > 0 else i64[stamps + (i & mask)] - i64[stamps + (before & mask)] + period
                expected = max(there, (lasts + period // 2) // period)
            for e in range(e0, e1):
                values[k * width + entries[e, E_FEATURE]] = np.float64(expected - there + filled) / expected
            k += 1
    i64[at] = filled


@part
def bin_of(value: float, low: float, scale: float, bins: int) -> int:
    """Which of the bins of equal width a value is in; the first and the last one have no outer edge."""
    place = (value - low) * scale
    return 0 if place < 1.0 else bins - 1 if place >= bins - 1 else int(place)


@part
def share_or_entropy(counts: Any, at: int, bins: int, total: int, operation: int, which: int) -> float:
    """Share of one bin, or Shannon entropy in nats of all."""
    if operation == OP_SHARE:
        return np.float64(counts[at + which]) / total
    entropy = 0.0
    for b in range(bins):
        if counts[at + b] > 0:
            p = np.float64(counts[at + b]) / total
            entropy -= p * np.log(p)
    return entropy


@part
def move_bins(
    f32: Any, i64: Any, x: int, mask: int, at: int, low: float, scale: float, bins: int, before: int, heads: Any, tail: int, n: int,
    due: Any, dues: int, entries: Any, e0: int, e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """A histogram with fixed edges."""
    k = 0
    for r in range(n):
        i = tail + r
        for j in range(before, heads[r]):
            i64[at + bin_of(np.float64(f32[x + (j & mask)]), low, scale, bins)] -= 1
        before = heads[r]
        i64[at + bin_of(np.float64(f32[x + (i & mask)]), low, scale, bins)] += 1
        if k < dues and due[k] == r:
            for e in range(e0, e1):
                values[k * width + entries[e, E_FEATURE]] = share_or_entropy(
                    i64, at, bins, i + 1 - before, entries[e, E_OPERATION], entries[e, E_I]
                )
            k += 1


@part
def smooth(
    f32: Any, f64: Any, i64: Any, x: int, stamps: int, mask: int, at: int, rows: int, last_stamp: int, by_time: int, window: int, tail: int,
    n: int, due: Any, dues: int, entries: Any, e0: int, e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """Exponentially weighted mean and variance; ``rows``: seen since the last reset, ``last_stamp``: of the row before."""
    mean = f64[at]
    variance = f64[at + 1]
    alpha = 2.0 / (window + 1.0)
    k = 0
    for r in range(n):
        value = np.float64(f32[x + ((tail + r) & mask)])
        stamp = i64[stamps + ((tail + r) & mask)]
        if rows + r == 0:
            mean = value
            variance = 0.0
        else:
            if by_time:
                alpha = -np.expm1(-np.float64(stamp - last_stamp) / window)
            delta = value - mean
            mean += alpha * delta
            variance = (1.0 - alpha) * (variance + alpha * delta * delta)
        last_stamp = stamp
        if k < dues and due[k] == r:
            for e in range(e0, e1):
                values[k * width + entries[e, E_FEATURE]] = mean if entries[e, E_OPERATION] == OP_EWMA else variance
            k += 1
    f64[at] = mean
    f64[at + 1] = variance


@part
def watch(
    f32: Any, i64: Any, x: int, stamps: int, mask: int, at: int, rows: int, operation: int, threshold: float, tail: int, n: int,
    due: Any, dues: int, entries: Any, e0: int, e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """Time since a condition held; since the first row where it never did. State: the stamp."""
    since = i64[at]
    if rows == 0:
        since = i64[stamps + (tail & mask)]
    k = 0
    for r in range(n):
        value = np.float64(f32[x + ((tail + r) & mask)])
        stamp = i64[stamps + ((tail + r) & mask)]
        if operation == OP_ABOVE:
            holds = value > threshold
        elif operation == OP_ABOVE_OR_AT:
            holds = value >= threshold
        elif operation == OP_BELOW:
            holds = value < threshold
        elif operation == OP_BELOW_OR_AT:
            holds = value <= threshold
        else:
            holds = value == threshold
        if holds:
            since = stamp
        if k < dues and due[k] == r:
            for e in range(e0, e1):
                values[k * width + entries[e, E_FEATURE]] = (stamp - since) * _SECONDS
            k += 1
    i64[at] = since
