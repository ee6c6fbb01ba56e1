"""Power sums over a window: mean, variance, skewness, kurtosis, slope, covariance.

Two-stack aggregation: O(1) amortised a sample, and nothing is ever subtracted from a sum. A window is split at ``mid``. Its rows before
``mid`` (front) have suffix sums, written once when the front was made; the rows from it on (back) have running sums. Adding a row
moves the back, dropping one moves ``head`` over the front, and when the front is used up the rows of the back become the new front.

Sums are of deviations from a row of the stack itself: the newest of the front, the oldest of the back. That row is in the window as long
as its sums are used, so n * variance is at least its squared deviation from the mean: whatever the offset, subtracting the mean costs at
most a factor of n + 1 in precision (2e-12 for 16,384 rows), and an outlier is gone with its row. Against Welford's update it saves the
divisions and makes the chain from row to row one addition long.

Source: Tangwongsan, Hirzel, Schneider, "Low-Latency Sliding-Window Aggregation in Worst-Case Constant Time", DEBS 2017 (two-stacks);
Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979; Pebay, "Formulas for Robust,
One-Pass Parallel Computation of Covariances and Arbitrary-Order Statistical Moments", SAND2008-6212.

Common arguments of the passes over a chunk of n rows, all in one channel's ring ``f32[x + (i & mask)]``:
    at: where the job's state begins. fmask: capacity of the window - 1. heads, mids: int64 (n,), first row of the window and of its
    back at each row. tail: number of the first row. due, dues: rows at which a vector is due, and how many. values: float32
    (dues, F), written. entries e0 to e1: the job's features.
"""

from typing import Any

import numpy as np

from edge.kernels.jit import part
from edge.kernels.layout import (
    E_FEATURE,
    E_OPERATION,
    OP_CORR,
    OP_COV,
    OP_MEAN,
    OP_SKEW,
    OP_STD,
    OP_VAR,
)

_SECONDS = 1e-9


@part
def move_moments(
    f32: Any, f64: Any, x: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int, due: Any, dues: int,
    inverses: Any, entries: Any, e0: int, e1: int, values: Any,
) -> None:  # fmt: skip
    """Mean, variance and what follows from them. State: two sums of the back, two suffix sums a row of the front.

    ``inverses``: float64 (3, dues), one over the rows of the back, of the front, of both: a division costs as much as all the rest.
    """
    p1 = at + 2
    p2 = p1 + fmask + 1
    b1 = f64[at]
    b2 = f64[at + 1]
    mid = mids[0]
    ref = np.float64(f32[x + (mid & mask)])
    ref_front = np.float64(f32[x + ((mid - 1) & mask)])
    k = 0
    for r in range(n):
        i = tail + r
        value = np.float64(f32[x + (i & mask)])
        head = heads[r]
        mid = mids[r]
        if mid == i:
            ref_front = np.float64(f32[x + ((i - 1) & mask)])
            s1 = 0.0
            s2 = 0.0
            for j in range(i - 1, head - 1, -1):
                d = np.float64(f32[x + (j & mask)]) - ref_front
                s1 += d
                s2 += d * d
                f64[p1 + (j & fmask)] = s1
                f64[p2 + (j & fmask)] = s2
            ref = value
            b1 = 0.0
            b2 = 0.0
        d = value - ref
        b1 += d
        b2 += d * d
        if k < dues and due[k] == r:
            share = inverses[0, k]
            mean = ref + b1 * share
            m2 = b2 - b1 * b1 * share
            if head < mid:
                n_front = np.float64(mid - head)
                inverse = inverses[1, k]
                s1 = f64[p1 + (head & fmask)]
                delta = mean - (ref_front + s1 * inverse)
                share = inverses[2, k]
                part_front = n_front * share
                m2 += f64[p2 + (head & fmask)] - s1 * s1 * inverse + delta * delta * part_front * (i + 1 - mid)
                mean -= delta * part_front
            variance = max(m2, 0.0) * share
            for e in range(e0, e1):
                operation = entries[e, E_OPERATION]
                if operation == OP_MEAN:
                    result = mean
                elif operation == OP_STD:
                    result = np.sqrt(variance)
                elif operation == OP_VAR:
                    result = variance
                else:
                    result = np.sqrt(mean * mean + variance)
                values[k, entries[e, E_FEATURE]] = result
            k += 1
    f64[at] = b1
    f64[at + 1] = b2


@part
def _central(s1: float, s2: float, s3: float, s4: float, n: float) -> Any:
    """Sums of powers of deviations from a reference to sums of powers of deviations from the mean, which is ``mean`` beyond it."""
    mean = s1 / n
    square = mean * mean
    m2 = s2 - s1 * mean
    m3 = s3 - 3.0 * mean * s2 + 2.0 * n * square * mean
    m4 = s4 - 4.0 * mean * s3 + 6.0 * square * s2 - 3.0 * n * square * square
    return mean, max(m2, 0.0), m3, max(m4, 0.0)


@part
def move_higher(
    f32: Any, f64: Any, x: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int, due: Any, dues: int,
    entries: Any, e0: int, e1: int, values: Any,
) -> None:  # fmt: skip
    """Skewness and excess kurtosis. State: four sums of the back, four suffix sums a row of the front."""
    capacity = fmask + 1
    p = at + 4
    b1 = f64[at]
    b2 = f64[at + 1]
    b3 = f64[at + 2]
    b4 = f64[at + 3]
    ref = np.float64(f32[x + (mids[0] & mask)])
    ref_front = np.float64(f32[x + ((mids[0] - 1) & mask)])
    k = 0
    for r in range(n):
        i = tail + r
        value = np.float64(f32[x + (i & mask)])
        head = heads[r]
        mid = mids[r]
        if mid == i:
            ref_front = np.float64(f32[x + ((i - 1) & mask)])
            s1 = 0.0
            s2 = 0.0
            s3 = 0.0
            s4 = 0.0
            for j in range(i - 1, head - 1, -1):
                d = np.float64(f32[x + (j & mask)]) - ref_front
                q = d * d
                s1 += d
                s2 += q
                s3 += q * d
                s4 += q * q
                slot = p + (j & fmask)
                f64[slot] = s1
                f64[slot + capacity] = s2
                f64[slot + 2 * capacity] = s3
                f64[slot + 3 * capacity] = s4
            ref = value
            b1 = 0.0
            b2 = 0.0
            b3 = 0.0
            b4 = 0.0
        d = value - ref
        q = d * d
        b1 += d
        b2 += q
        b3 += q * d
        b4 += q * q
        if k < dues and due[k] == r:
            n_back = np.float64(i + 1 - mid)
            n_all = n_back
            mean_back, m2, m3, m4 = _central(b1, b2, b3, b4, n_back)
            if head < mid:
                n_front = np.float64(mid - head)
                slot = p + (head & fmask)
                mean_front, f2, f3, f4 = _central(
                    f64[slot], f64[slot + capacity], f64[slot + 2 * capacity], f64[slot + 3 * capacity], n_front
                )
                n_all = n_front + n_back
                delta = (ref + mean_back) - (ref_front + mean_front)
                step = delta / n_all
                cross = delta * step * n_front * n_back
                m4 += f4 + cross * step * step * (n_front * n_front - n_front * n_back + n_back * n_back)
                m4 += 6.0 * step * step * (n_front * n_front * m2 + n_back * n_back * f2) + 4.0 * step * (n_front * m3 - n_back * f3)
                m3 += f3 + cross * step * (n_front - n_back) + 3.0 * step * (n_front * m2 - n_back * f2)
                m2 += f2 + cross
            for e in range(e0, e1):
                result = 0.0
                if m2 > 0.0:
                    variance = m2 / n_all
                    if entries[e, E_OPERATION] == OP_SKEW:
                        result = m3 / n_all / (variance * np.sqrt(variance))
                    else:
                        result = m4 / n_all / (variance * variance) - 3.0
                values[k, entries[e, E_FEATURE]] = result
            k += 1
    f64[at] = b1
    f64[at + 1] = b2
    f64[at + 2] = b3
    f64[at + 3] = b4


@part
def move_products(
    f32: Any, f64: Any, i64: Any, x: int, y: int, stamps: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int,
    due: Any, dues: int, entries: Any, e0: int, e1: int, values: Any,
) -> None:  # fmt: skip
    """How x goes with y, another channel, or with time in seconds where ``y`` is -1 (slope). State: five sums, as above."""
    capacity = fmask + 1
    p = at + 5
    bx = f64[at]
    by = f64[at + 1]
    bxx = f64[at + 2]
    byy = f64[at + 3]
    bxy = f64[at + 4]
    is_time = y < 0
    mid = mids[0]
    origin = i64[stamps + (mid & mask)]
    origin_front = i64[stamps + ((mid - 1) & mask)]
    ref_x = np.float64(f32[x + (mid & mask)])
    front_x = np.float64(f32[x + ((mid - 1) & mask)])
    ref_y = 0.0 if is_time else np.float64(f32[y + (mid & mask)])
    front_y = 0.0 if is_time else np.float64(f32[y + ((mid - 1) & mask)])
    k = 0
    for r in range(n):
        i = tail + r
        head = heads[r]
        mid = mids[r]
        if mid == i:
            origin_front = i64[stamps + ((i - 1) & mask)]
            front_x = np.float64(f32[x + ((i - 1) & mask)])
            front_y = 0.0 if is_time else np.float64(f32[y + ((i - 1) & mask)])
            sx = 0.0
            sy = 0.0
            sxx = 0.0
            syy = 0.0
            sxy = 0.0
            for j in range(i - 1, head - 1, -1):
                dx = np.float64(f32[x + (j & mask)]) - front_x
                if is_time:
                    dy = (i64[stamps + (j & mask)] - origin_front) * _SECONDS
                else:
                    dy = np.float64(f32[y + (j & mask)]) - front_y
                sx += dx
                sy += dy
                sxx += dx * dx
                syy += dy * dy
                sxy += dx * dy
                slot = p + (j & fmask)
                f64[slot] = sx
                f64[slot + capacity] = sy
                f64[slot + 2 * capacity] = sxx
                f64[slot + 3 * capacity] = syy
                f64[slot + 4 * capacity] = sxy
            origin = i64[stamps + (i & mask)]
            ref_x = np.float64(f32[x + (i & mask)])
            ref_y = 0.0 if is_time else np.float64(f32[y + (i & mask)])
            bx = 0.0
            by = 0.0
            bxx = 0.0
            byy = 0.0
            bxy = 0.0
        dx = np.float64(f32[x + (i & mask)]) - ref_x
        if is_time:
            dy = (i64[stamps + (i & mask)] - origin) * _SECONDS
        else:
            dy = np.float64(f32[y + (i & mask)]) - ref_y
        bx += dx
        by += dy
        bxx += dx * dx
        byy += dy * dy
        bxy += dx * dy
        if k < dues and due[k] == r:
            n_back = np.float64(i + 1 - mid)
            n_all = n_back
            mx = bx / n_back
            my = by / n_back
            cxx = bxx - bx * mx
            cyy = byy - by * my
            cxy = bxy - bx * my
            if head < mid:
                n_front = np.float64(mid - head)
                slot = p + (head & fmask)
                sx = f64[slot]
                sy = f64[slot + capacity]
                n_all = n_front + n_back
                weight = n_front * n_back / n_all
                fx = sx / n_front
                fy = sy / n_front
                delta_x = (ref_x + mx) - (front_x + fx)
                delta_y = (ref_y + my) - (front_y + fy)
                if is_time:
                    delta_y = (origin - origin_front) * _SECONDS + my - fy
                cxx += f64[slot + 2 * capacity] - sx * fx + delta_x * delta_x * weight
                cyy += f64[slot + 3 * capacity] - sy * fy + delta_y * delta_y * weight
                cxy += f64[slot + 4 * capacity] - sx * fy + delta_x * delta_y * weight
            for e in range(e0, e1):
                result = 0.0
                operation = entries[e, E_OPERATION]
                if is_time:
                    if cyy > 0.0:
                        result = cxy / cyy
                elif operation == OP_COV:
                    result = cxy / n_all
                elif operation == OP_CORR and cxx > 0.0 and cyy > 0.0:
                    result = min(max(cxy / np.sqrt(cxx) / np.sqrt(cyy), -1.0), 1.0)
                values[k, entries[e, E_FEATURE]] = result
            k += 1
    f64[at] = bx
    f64[at + 1] = by
    f64[at + 2] = bxx
    f64[at + 3] = byy
    f64[at + 4] = bxy
