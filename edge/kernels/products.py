"""Sums of products over a window: covariance, correlation, and the slope, which is how x goes with time.

Two stacks, sums of deviations from rows of their own, and the arguments of the pass, as in edge.kernels.sums.
"""

from typing import Any

import numpy as np

from edge.kernels.jit import part
from edge.kernels.layout import (
    CHUNK,
    E_FEATURE,
    E_OPERATION,
    OP_CORR,
    OP_COV,
    P_BACK_INVERSE,
    P_FRONT_INVERSE,
    P_HAS_FRONT,
    P_INVERSE,
    P_WEIGHT,
)
from edge.kernels.sums import due_before, stretch

_SECONDS = 1e-9


@part
def move_products(
    f32: Any, f64: Any, i64: Any, x: int, y: int, stamps: int, mask: int, fmask: int, at: int, heads: Any, mids: Any, tail: int, n: int,
    due: Any, dues: int, parts: Any, work: Any, entries: Any, e0: int, e1: int, values: Any, width: int,
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
    if is_time:
        y = x  # read and not used: one loop for both
    k = 0
    r = 0
    while r < n:
        i = tail + r
        mid = mids[r]
        origin = i64[stamps + (mid & mask)]
        origin_front = i64[stamps + ((mid - 1) & mask)]
        ref_x = np.float64(f32[x + (mid & mask)])
        ref_y = np.float64(f32[y + (mid & mask)])
        front_x = np.float64(f32[x + ((mid - 1) & mask)])
        front_y = np.float64(f32[y + ((mid - 1) & mask)])
        if mid == i:
            bx = 0.0
            by = 0.0
            bxx = 0.0
            byy = 0.0
            bxy = 0.0
            for j in range(i - 1, heads[r] - 1, -1):
                dx = np.float64(f32[x + (j & mask)]) - front_x
                dy = np.float64(f32[y + (j & mask)]) - front_y
                if is_time:
                    dy = (i64[stamps + (j & mask)] - origin_front) * _SECONDS
                bx += dx
                by += dy
                bxx += dx * dx
                byy += dy * dy
                bxy += dx * dy
                slot = p + (j & fmask)
                f64[slot] = bx
                f64[slot + capacity] = by
                f64[slot + 2 * capacity] = bxx
                f64[slot + 3 * capacity] = byy
                f64[slot + 4 * capacity] = bxy
            bx = 0.0
            by = 0.0
            bxx = 0.0
            byy = 0.0
            bxy = 0.0
        stop = stretch(mids, r, n)
        for q in range(r, stop):
            dx = np.float64(f32[x + ((tail + q) & mask)]) - ref_x
            dy = np.float64(f32[y + ((tail + q) & mask)]) - ref_y
            if is_time:
                dy = (i64[stamps + ((tail + q) & mask)] - origin) * _SECONDS
            bx += dx
            by += dy
            bxx += dx * dx
            byy += dy * dy
            bxy += dx * dy
            work[q] = bx
            work[CHUNK + q] = by
            work[2 * CHUNK + q] = bxx
            work[3 * CHUNK + q] = byy
            work[4 * CHUNK + q] = bxy
        step_x = ref_x - front_x
        step_y = (origin - origin_front) * _SECONDS if is_time else ref_y - front_y
        last = due_before(due, k, dues, stop)
        for v in range(k, last):
            q = due[v]
            head = heads[q]
            has_front = parts[P_HAS_FRONT + v]
            slot = p + (head & fmask)
            sx = f64[slot]
            sy = f64[slot + capacity]
            mx = work[q] * parts[P_BACK_INVERSE + v]
            my = work[CHUNK + q] * parts[P_BACK_INVERSE + v]
            fx = sx * parts[P_FRONT_INVERSE + v]
            fy = sy * parts[P_FRONT_INVERSE + v]
            delta_x = step_x + mx - fx
            delta_y = step_y + my - fy
            weight = parts[P_WEIGHT + v]
            cxx = work[2 * CHUNK + q] - work[q] * mx + has_front * (f64[slot + 2 * capacity] - sx * fx) + delta_x * delta_x * weight
            cyy = work[3 * CHUNK + q] - work[CHUNK + q] * my + has_front * (f64[slot + 3 * capacity] - sy * fy) + delta_y * delta_y * weight
            cxy = work[4 * CHUNK + q] - work[q] * my + has_front * (f64[slot + 4 * capacity] - sx * fy) + delta_x * delta_y * weight
            work[5 * CHUNK + v] = cxx
            work[6 * CHUNK + v] = cyy
            work[7 * CHUNK + v] = cxy
        k = last
        r = stop
    f64[at] = bx
    f64[at + 1] = by
    f64[at + 2] = bxx
    f64[at + 3] = byy
    f64[at + 4] = bxy
    for e in range(e0, e1):
        operation = entries[e, E_OPERATION]
        feature = entries[e, E_FEATURE]
        if is_time:
            for v in range(dues):
                values[v * width + feature] = work[7 * CHUNK + v] / work[6 * CHUNK + v] if work[6 * CHUNK + v] > 0.0 else 0.0
        elif operation == OP_COV:
            for v in range(dues):
                values[v * width + feature] = work[7 * CHUNK + v] * parts[P_INVERSE + v]
        elif operation == OP_CORR:
            for v in range(dues):
                result = 0.0
                if work[5 * CHUNK + v] > 0.0 and work[6 * CHUNK + v] > 0.0:
                    result = min(max(work[7 * CHUNK + v] / np.sqrt(work[5 * CHUNK + v]) / np.sqrt(work[6 * CHUNK + v]), -1.0), 1.0)
                values[v * width + feature] = result
