"""One window of one lane: drop the oldest row, add the newest, read a statistic.

Two-stack aggregation: O(1) amortised a sample, and nothing is ever subtracted.

A window is split at ``mid``. The rows before it (front) have suffix aggregates, computed once when the front was made; the rows
from it on (back) have one running aggregate. Adding a row updates the back, dropping one moves ``head`` over the front, and when the
front is used up the back becomes the new front. Because aggregates are only merged (Welford, Chan), an outlier leaves no trace after
it left the window, an offset of 1e9 costs no precision, and no periodic recompute is needed. The price: every W-th row pays for W
rows (measured: 12 us for 256 rows of 8 channels).

Source: Tangwongsan, Hirzel, Schneider, "Low-Latency Sliding-Window Aggregation in Worst-Case Constant Time", DEBS 2017 (two-stacks);
Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979 (merging).
"""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel
from edge.kernels.layout import (
    CROSSINGS,
    EWMA,
    EXTREMA,
    G_BACK,
    G_BY_TIME,
    G_CAPACITY,
    G_COLUMN_LIST,
    G_COLUMNS,
    G_FAMILIES,
    G_FRONT,
    G_STATE,
    G_WINDOW,
    GROUP_STATE,
    H_HEAD,
    H_MID,
    H_ORIGIN,
    H_ROWS,
    MOMENTS,
    OP_COUNT,
    OP_CROSSINGS,
    OP_EWMA,
    OP_LAST,
    OP_MAX,
    OP_MEAN,
    OP_MIN,
    OP_P2P,
    OP_SLOPE,
    OP_STD,
    OP_VAR,
    S_CAPACITY,
    S_CHANNELS,
    S_RING,
    S_STAMPS,
    S_STATE,
    T_LAST_STAMP,
    T_TAIL,
    TREND,
)

_SECONDS = 1e-9


@kernel("void(int64[:, ::1], int64[:, ::1], int64[::1], int64, int64, float32[::1], float64[::1], int64[::1])")
def flip(
    streams: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    column_list: npt.NDArray[np.int64],
    s: int,
    g: int,
    f32: npt.NDArray[np.float32],
    f64: npt.NDArray[np.float64],
    i64: npt.NDArray[np.int64],
) -> None:
    """Make the back the new front: a suffix aggregate for each of its rows, newest first, and an empty back."""
    columns = groups[g, G_COLUMNS]
    families = groups[g, G_FAMILIES]
    back = groups[g, G_BACK]
    h = groups[g, G_STATE]
    record = 5 * columns + 2
    channels = streams[s, S_CHANNELS]
    mask = streams[s, S_CAPACITY] - 1
    front_mask = groups[g, G_CAPACITY] - 1
    tail = i64[streams[s, S_STATE] + T_TAIL]
    head = i64[h + H_HEAD]
    origin = i64[streams[s, S_STAMPS] + ((tail - 1) & mask)]

    run = f64[back : back + record]
    run[: 2 * columns] = 0.0
    run[2 * columns : 3 * columns] = np.inf
    run[3 * columns : 4 * columns] = -np.inf
    run[4 * columns :] = 0.0
    for i in range(tail - 1, head - 1, -1):
        inverse = 1.0 / (tail - i)
        ring = streams[s, S_RING] + (i & mask) * channels
        t_delta = 0.0
        if families & TREND:
            t = (i64[streams[s, S_STAMPS] + (i & mask)] - origin) * _SECONDS
            t_delta = t - run[5 * columns]
            run[5 * columns] += t_delta * inverse
            run[5 * columns + 1] += t_delta * (t - run[5 * columns])
        for c in range(columns):
            x = np.float64(f32[ring + column_list[groups[g, G_COLUMN_LIST] + c]])
            if families & MOMENTS:
                delta = x - run[c]
                run[c] += delta * inverse
                run[columns + c] += delta * (x - run[c])
                run[4 * columns + c] += t_delta * (x - run[c])
            if families & EXTREMA:
                run[2 * columns + c] = min(run[2 * columns + c], x)
                run[3 * columns + c] = max(run[3 * columns + c], x)
        front = groups[g, G_FRONT] + (i & front_mask) * record
        for k in range(record):
            f64[front + k] = run[k]
    run[: 2 * columns] = 0.0
    run[2 * columns : 3 * columns] = np.inf
    run[3 * columns : 4 * columns] = -np.inf
    run[4 * columns :] = 0.0
    i64[h + H_MID] = tail
    i64[h + H_ORIGIN] = origin


@kernel("void(int64[:, ::1], int64[:, ::1], int64[::1], int64, int64, float32[::1], float64[::1], int64[::1])")
def drop_oldest(
    streams: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    column_list: npt.NDArray[np.int64],
    s: int,
    g: int,
    f32: npt.NDArray[np.float32],
    f64: npt.NDArray[np.float64],
    i64: npt.NDArray[np.int64],
) -> None:
    """Move the window's start past its oldest row."""
    h = groups[g, G_STATE]
    if i64[h + H_HEAD] == i64[h + H_MID]:
        flip(streams, groups, column_list, s, g, f32, f64, i64)
    head = i64[h + H_HEAD]
    if groups[g, G_FAMILIES] & CROSSINGS and head + 1 < i64[streams[s, S_STATE] + T_TAIL]:
        channels = streams[s, S_CHANNELS]
        mask = streams[s, S_CAPACITY] - 1
        old = streams[s, S_RING] + (head & mask) * channels
        new = streams[s, S_RING] + ((head + 1) & mask) * channels
        for c in range(groups[g, G_COLUMNS]):
            column = column_list[groups[g, G_COLUMN_LIST] + c]
            if (f32[old + column] < 0.0) != (f32[new + column] < 0.0):
                i64[h + GROUP_STATE + c] -= 1
    i64[h + H_HEAD] = head + 1


@kernel("void(int64[:, ::1], int64[:, ::1], int64[::1], int64, int64, float32[::1], float64[::1], int64[::1])")
def add_newest(
    streams: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    column_list: npt.NDArray[np.int64],
    s: int,
    g: int,
    f32: npt.NDArray[np.float32],
    f64: npt.NDArray[np.float64],
    i64: npt.NDArray[np.int64],
) -> None:
    """Add the row at the ring's tail to the back. The tail itself is moved by the caller, after every group has seen the row."""
    columns = groups[g, G_COLUMNS]
    families = groups[g, G_FAMILIES]
    back = groups[g, G_BACK]
    h = groups[g, G_STATE]
    state = streams[s, S_STATE]
    channels = streams[s, S_CHANNELS]
    mask = streams[s, S_CAPACITY] - 1
    tail = i64[state + T_TAIL]
    stamp = i64[streams[s, S_STAMPS] + (tail & mask)]
    ring = streams[s, S_RING] + (tail & mask) * channels
    n = tail + 1 - i64[h + H_MID]
    inverse = 1.0 / n
    rows = i64[h + H_ROWS]
    if rows == 0:
        i64[h + H_ORIGIN] = stamp
    t_delta = 0.0
    if families & TREND:
        t = (stamp - i64[h + H_ORIGIN]) * _SECONDS
        t_delta = t - f64[back + 5 * columns]
        f64[back + 5 * columns] += t_delta * inverse
        f64[back + 5 * columns + 1] += t_delta * (t - f64[back + 5 * columns])
    alpha = 0.0
    if families & EWMA:
        if groups[g, G_BY_TIME]:
            alpha = -np.expm1((i64[state + T_LAST_STAMP] - stamp) / groups[g, G_WINDOW])
        else:
            alpha = 2.0 / (groups[g, G_WINDOW] + 1.0)
    has_before = tail > i64[h + H_HEAD]
    before = streams[s, S_RING] + ((tail - 1) & mask) * channels
    for c in range(columns):
        column = column_list[groups[g, G_COLUMN_LIST] + c]
        x = np.float64(f32[ring + column])
        if families & MOMENTS:
            delta = x - f64[back + c]
            f64[back + c] += delta * inverse
            rest = x - f64[back + c]
            f64[back + columns + c] += delta * rest
            f64[back + 4 * columns + c] += t_delta * rest
        if families & EXTREMA:
            f64[back + 2 * columns + c] = min(f64[back + 2 * columns + c], x)
            f64[back + 3 * columns + c] = max(f64[back + 3 * columns + c], x)
        if families & CROSSINGS and has_before and (x < 0.0) != (f32[before + column] < 0.0):
            i64[h + GROUP_STATE + c] += 1
        if families & EWMA:
            smoothed = back + 5 * columns + 2 + c
            f64[smoothed] = x if rows == 0 else f64[smoothed] + alpha * (x - f64[smoothed])
    i64[h + H_ROWS] = rows + 1


@kernel("float64(int64, int64, int64[:, ::1], int64[:, ::1], int64[::1], int64, int64, float32[::1], float64[::1], int64[::1])")
def evaluate(
    operation: int,
    c: int,
    streams: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    column_list: npt.NDArray[np.int64],
    s: int,
    g: int,
    f32: npt.NDArray[np.float32],
    f64: npt.NDArray[np.float64],
    i64: npt.NDArray[np.int64],
) -> float:
    """One statistic of one channel over the window that ends before the ring's tail."""
    h = groups[g, G_STATE]
    columns = groups[g, G_COLUMNS]
    tail = i64[streams[s, S_STATE] + T_TAIL]
    head = i64[h + H_HEAD]
    back = groups[g, G_BACK]
    if operation == OP_COUNT:
        return float(tail - head)
    if operation == OP_CROSSINGS:
        return float(i64[h + GROUP_STATE + c])
    if operation == OP_EWMA:
        return float(f64[back + 5 * columns + 2 + c])
    if operation == OP_LAST:
        last = streams[s, S_RING] + ((tail - 1) & (streams[s, S_CAPACITY] - 1)) * streams[s, S_CHANNELS]
        return float(f32[last + column_list[groups[g, G_COLUMN_LIST] + c]])

    n_front = float(i64[h + H_MID] - head)
    n_back = float(tail - i64[h + H_MID])
    front = groups[g, G_FRONT] + (head & (groups[g, G_CAPACITY] - 1)) * (5 * columns + 2)
    if n_front == 0.0:
        front = back  # so that the merges below read finite numbers
    if OP_MIN <= operation <= OP_P2P:
        low = min(f64[front + 2 * columns + c], f64[back + 2 * columns + c])
        high = max(f64[front + 3 * columns + c], f64[back + 3 * columns + c])
        return float(low if operation == OP_MIN else high if operation == OP_MAX else high - low)

    n = n_front + n_back
    share = n_back / n
    cross = n_front * share
    delta = f64[back + c] - f64[front + c]
    if operation == OP_SLOPE:
        t_delta = f64[back + 5 * columns] - f64[front + 5 * columns]
        m2_t = f64[back + 5 * columns + 1] + t_delta * t_delta * cross
        tx = f64[back + 4 * columns + c] + t_delta * delta * cross
        if n_front > 0.0:
            m2_t += f64[front + 5 * columns + 1]
            tx += f64[front + 4 * columns + c]
        return float(tx / m2_t) if m2_t > 0.0 else 0.0
    mean = f64[front + c] + delta * share
    if operation == OP_MEAN:
        return float(mean)
    m2 = f64[back + columns + c] + delta * delta * cross
    if n_front > 0.0:
        m2 += f64[front + columns + c]
    variance = m2 / n
    if operation == OP_VAR:
        return float(variance)
    if operation == OP_STD:
        return float(np.sqrt(variance))
    return float(np.sqrt(mean * mean + variance))
