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
    (dues, F), written. entries e0 to e1: the job's features. parts: float64, see
    layout.P_BACK_INVERSE: a division costs as much as all the rest. work: float64 (10 * CHUNK,), overwritten.

Each pass runs over the rows between two flips at once: first the running sums, one addition after the other, then what is due, which has no
such chain and becomes vector instructions, then each feature. With a vector at every row that halves the cost.
"""

from typing import Any

import numpy as np

from edge.kernels.jit import part
from edge.kernels.layout import (
    CHUNK,
    E_FEATURE,
    E_OPERATION,
    OP_MEAN,
    OP_SKEW,
    OP_STD,
    OP_VAR,
    P_BACK,
    P_BACK_INVERSE,
    P_FRONT,
    P_FRONT_INVERSE,
    P_FRONT_SHARE,
    P_HAS_FRONT,
    P_INVERSE,
    P_WEIGHT,
)

_SECONDS = 1e-9


@part
def stretch(mids: Any, r: int, n: int) -> int:
    """End of the rows from r on that have the same back."""
    stop = r + 1
    while stop < n and mids[stop] == mids[r]:
        stop += 1
    return stop


@part
def due_before(due: Any, k: int, dues: int, stop: int) -> int:
    """End of what is due from k on before row ``stop``."""
    while k < dues and due[k] < stop:
        k += 1
    return k


@part
def move_moments(
    f32: Any, f64: Any, x: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int, due: Any, dues: int,
    parts: Any, work: Any, entries: Any, e0: int, e1: int, values: Any, width: int,
) -> None:  # fmt: skip
    """Mean, variance and what follows from them. State: two sums of the back, two suffix sums a row of the front."""
    p1 = at + 2
    p2 = p1 + fmask + 1
    b1 = f64[at]
    b2 = f64[at + 1]
    ref = np.float64(f32[x + (mids[0] & mask)])
    ref_front = np.float64(f32[x + ((mids[0] - 1) & mask)])
    k = 0
    r = 0
    while r < n:
        i = tail + r
        mid = mids[r]
        if mid == i:
            ref = np.float64(f32[x + (i & mask)])
            ref_front = np.float64(f32[x + ((i - 1) & mask)])
            b1 = 0.0
            b2 = 0.0
            for j in range(i - 1, heads[r] - 1, -1):
                d = np.float64(f32[x + (j & mask)]) - ref_front
                b1 += d
                b2 += d * d
                f64[p1 + (j & fmask)] = b1
                f64[p2 + (j & fmask)] = b2
            b1 = 0.0
            b2 = 0.0
        stop = stretch(mids, r, n)
        for q in range(r, stop):
            d = np.float64(f32[x + ((tail + q) & mask)]) - ref
            b1 += d
            b2 += d * d
            work[q] = b1
            work[CHUNK + q] = b2
        last = due_before(due, k, dues, stop)
        for v in range(k, last):
            slot = heads[due[v]] & fmask
            work[2 * CHUNK + v] = f64[p1 + slot]
            work[3 * CHUNK + v] = f64[p2 + slot]
            work[4 * CHUNK + v] = work[due[v]]
            work[5 * CHUNK + v] = work[CHUNK + due[v]]
        for v in range(k, last):
            s1 = work[2 * CHUNK + v]
            b1_v = work[4 * CHUNK + v]
            mean = ref + b1_v * parts[P_BACK_INVERSE + v]
            delta = mean - (ref_front + s1 * parts[P_FRONT_INVERSE + v])
            m2 = work[5 * CHUNK + v] - b1_v * b1_v * parts[P_BACK_INVERSE + v]
            m2 += parts[P_HAS_FRONT + v] * (work[3 * CHUNK + v] - s1 * s1 * parts[P_FRONT_INVERSE + v])
            m2 += delta * delta * parts[P_WEIGHT + v]
            work[6 * CHUNK + v] = mean - delta * parts[P_FRONT_SHARE + v]
            work[7 * CHUNK + v] = max(m2, 0.0) * parts[P_INVERSE + v]
        k = last
        r = stop
    f64[at] = b1
    f64[at + 1] = b2
    for e in range(e0, e1):
        operation = entries[e, E_OPERATION]
        feature = entries[e, E_FEATURE]
        if operation == OP_MEAN:
            for v in range(dues):
                values[v * width + feature] = work[6 * CHUNK + v]
        elif operation == OP_STD:
            for v in range(dues):
                values[v * width + feature] = np.sqrt(work[7 * CHUNK + v])
        elif operation == OP_VAR:
            for v in range(dues):
                values[v * width + feature] = work[7 * CHUNK + v]
        else:
            for v in range(dues):
                values[v * width + feature] = np.sqrt(work[6 * CHUNK + v] * work[6 * CHUNK + v] + work[7 * CHUNK + v])


@part
def move_higher(
    f32: Any, f64: Any, x: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int, due: Any, dues: int,
    parts: Any, work: Any, entries: Any, e0: int, e1: int, values: Any, width: int,
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
    r = 0
    while r < n:
        i = tail + r
        mid = mids[r]
        if mid == i:
            ref = np.float64(f32[x + (i & mask)])
            ref_front = np.float64(f32[x + ((i - 1) & mask)])
            b1 = 0.0
            b2 = 0.0
            b3 = 0.0
            b4 = 0.0
            for j in range(i - 1, heads[r] - 1, -1):
                d = np.float64(f32[x + (j & mask)]) - ref_front
                q2 = d * d
                b1 += d
                b2 += q2
                b3 += q2 * d
                b4 += q2 * q2
                slot = p + (j & fmask)
                f64[slot] = b1
                f64[slot + capacity] = b2
                f64[slot + 2 * capacity] = b3
                f64[slot + 3 * capacity] = b4
            b1 = 0.0
            b2 = 0.0
            b3 = 0.0
            b4 = 0.0
        stop = stretch(mids, r, n)
        for q in range(r, stop):
            d = np.float64(f32[x + ((tail + q) & mask)]) - ref
            q2 = d * d
            b1 += d
            b2 += q2
            b3 += q2 * d
            b4 += q2 * q2
            work[q] = b1
            work[CHUNK + q] = b2
            work[2 * CHUNK + q] = b3
            work[3 * CHUNK + q] = b4
        last = due_before(due, k, dues, stop)
        for v in range(k, last):
            slot = p + (heads[due[v]] & fmask)
            work[4 * CHUNK + v] = f64[slot]
            work[5 * CHUNK + v] = f64[slot + capacity]
            work[6 * CHUNK + v] = f64[slot + 2 * capacity]
            work[7 * CHUNK + v] = f64[slot + 3 * capacity]
        for v in range(k, last):
            q = due[v]
            n_front = parts[P_FRONT + v]
            n_back = parts[P_BACK + v]
            has_front = parts[P_HAS_FRONT + v]
            s1 = work[4 * CHUNK + v]
            s2 = work[5 * CHUNK + v]
            s3 = work[6 * CHUNK + v]
            s4 = work[7 * CHUNK + v]
            # Powers of deviations from the reference to powers of deviations from the mean, of the back and of the front.
            mb = work[q] * parts[P_BACK_INVERSE + v]
            sb = mb * mb
            m2 = max(work[CHUNK + q] - work[q] * mb, 0.0)
            m3 = work[2 * CHUNK + q] - 3.0 * mb * work[CHUNK + q] + 2.0 * n_back * sb * mb
            m4 = max(work[3 * CHUNK + q] - 4.0 * mb * work[2 * CHUNK + q] + 6.0 * sb * work[CHUNK + q] - 3.0 * n_back * sb * sb, 0.0)
            mf = s1 * parts[P_FRONT_INVERSE + v]
            sf = mf * mf
            f2 = has_front * max(s2 - s1 * mf, 0.0)
            f3 = has_front * (s3 - 3.0 * mf * s2 + 2.0 * n_front * sf * mf)
            f4 = has_front * max(s4 - 4.0 * mf * s3 + 6.0 * sf * s2 - 3.0 * n_front * sf * sf, 0.0)
            delta = has_front * ((ref + mb) - (ref_front + mf))
            step = delta * parts[P_INVERSE + v]
            cross = delta * step * n_front * n_back
            m4 += f4 + cross * step * step * (n_front * n_front - n_front * n_back + n_back * n_back)
            m4 += 6.0 * step * step * (n_front * n_front * m2 + n_back * n_back * f2) + 4.0 * step * (n_front * m3 - n_back * f3)
            m3 += f3 + cross * step * (n_front - n_back) + 3.0 * step * (n_front * m2 - n_back * f2)
            m2 += f2 + cross
            # Divided by 1 and multiplied by 0 where nothing varies.
            varies = 1.0 if m2 > 0.0 else 0.0
            variance = m2 * parts[P_INVERSE + v] + (1.0 - varies)
            work[8 * CHUNK + v] = varies * m3 * parts[P_INVERSE + v] / (variance * np.sqrt(variance))
            work[9 * CHUNK + v] = varies * (m4 * parts[P_INVERSE + v] / (variance * variance) - 3.0)
        k = last
        r = stop
    f64[at] = b1
    f64[at + 1] = b2
    f64[at + 2] = b3
    f64[at + 3] = b4
    for e in range(e0, e1):
        which = 8 if entries[e, E_OPERATION] == OP_SKEW else 9
        feature = entries[e, E_FEATURE]
        for v in range(dues):
            values[v * width + feature] = work[which * CHUNK + v]
