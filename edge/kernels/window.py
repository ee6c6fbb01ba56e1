"""Sliding-window statistics by two-stack aggregation: O(1) amortised a sample, and nothing is ever subtracted.

A window is split at ``mid``. The rows before it (front) have suffix aggregates, computed once when the front was made; the rows
from it on (back) have one running aggregate. Adding a row updates the back, dropping one moves ``head`` over the front, and when the
front is used up the back becomes the new front. Because aggregates are only merged (Welford, Chan), an outlier leaves no trace after
it left the window, an offset of 1e9 costs no precision, and no periodic recompute is needed. The price: every W-th row pays for W
rows (measured: 12 us for 256 rows of 8 channels).

Source: Tangwongsan, Hirzel, Schneider, "Low-Latency Sliding-Window Aggregation in Worst-Case Constant Time", DEBS 2017 (two-stacks);
Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979 (merging).

The plan of a pipeline is three tables of int64. The state of one device (lane) is one row of each of three arrays, so it can be
saved and moved as bytes. The column numbers below are the contract with edge.features.plan, which lays the rows out.
"""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel

# Columns of the stream table.
S_CHANNELS, S_CAPACITY, S_RING, S_STAMPS, S_STATE, S_GROUPS, S_GROUPS_END, S_MAX_GAP, S_RESET_ON_GAP = range(9)
STREAM_COLUMNS = 9
# A stream's int64 state.
T_TAIL, T_LAST_STAMP, T_FIRST_STAMP, T_STARTED, T_GAPS, T_OVERFLOW = range(6)
STREAM_STATE = 6

# Columns of the group table. G_BACK and G_FRONT are offsets into the float64 state. A record is mean, m2, low, high and tx (co-moment
# with time) of every channel, then mean and m2 of time. The back is one record, followed by the ewma of every channel; the front has
# a record for each row of the window.
(
    G_COLUMNS,
    G_COLUMN_LIST,
    G_FAMILIES,
    G_BY_TIME,
    G_WINDOW,
    G_HOP_BY_TIME,
    G_HOP,
    G_CAPACITY,
    G_STATE,
    G_BACK,
    G_FRONT,
    G_FEATURES,
    G_FEATURES_END,
) = range(13)
GROUP_COLUMNS = 13
# A group's int64 state, followed by one zero-crossing count a channel. H_ROWS counts rows since the last reset: a count, never a
# value, says that something has started.
H_HEAD, H_MID, H_ROWS, H_WARM, H_ORIGIN = range(5)
GROUP_STATE = 5

# Families of statistics, as bits: a group pays for those it uses.
MOMENTS, EXTREMA, TREND, CROSSINGS, EWMA = 1, 2, 4, 8, 16

# Operations of the feature table (operation, channel within the group).
OP_MEAN, OP_VAR, OP_STD, OP_RMS, OP_MIN, OP_MAX, OP_P2P, OP_SLOPE, OP_CROSSINGS, OP_EWMA, OP_LAST, OP_COUNT = range(12)

_SECONDS = 1e-9


def record_size(columns: int) -> int:
    """Float64 numbers of one aggregate record: mean, m2, low, high, tx per channel, then mean and m2 of time."""
    return 5 * columns + 2


@kernel("void(int64[:, ::1], int64[:, ::1], int64, float64[:, ::1], int64[:, ::1], int64)")
def reset_stream(
    streams: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    stream: int,
    f64: npt.NDArray[np.float64],
    i64: npt.NDArray[np.int64],
    lane: int,
) -> None:
    """Forget the windows of one stream of one lane, as if it had never started. Counters of gaps and overflows stay.

    Args:
        streams, groups: the plan's tables.
        stream: row of the stream table.
        f64, i64: state, one row a lane.
        lane: which row.
    """
    state = streams[stream, S_STATE]
    i64[lane, state + T_STARTED] = 0
    tail = i64[lane, state + T_TAIL]
    for g in range(streams[stream, S_GROUPS], streams[stream, S_GROUPS_END]):
        columns = groups[g, G_COLUMNS]
        h = groups[g, G_STATE]
        i64[lane, h + H_HEAD] = tail
        i64[lane, h + H_MID] = tail
        i64[lane, h + H_ROWS] = 0
        i64[lane, h + H_WARM] = 0
        for c in range(columns):
            i64[lane, h + GROUP_STATE + c] = 0
        back = groups[g, G_BACK]
        for c in range(columns):
            f64[lane, back + c] = 0.0
            f64[lane, back + columns + c] = 0.0
            f64[lane, back + 2 * columns + c] = np.inf
            f64[lane, back + 3 * columns + c] = -np.inf
            f64[lane, back + 4 * columns + c] = 0.0
        f64[lane, back + 5 * columns] = 0.0
        f64[lane, back + 5 * columns + 1] = 0.0


@kernel("void(int64[:, ::1], int64[:, ::1], int64[::1], int64, int64, float32[::1], float64[::1], int64[::1])")
def _flip(
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
def _drop_oldest(
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
        _flip(streams, groups, column_list, s, g, f32, f64, i64)
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
def _add_newest(
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
def _evaluate(
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


@kernel(
    "int64(int64[:, ::1], int64[:, ::1], int64[::1], int64[:, ::1], int64, float32[:, ::1], float64[:, ::1], int64[:, ::1], int64,"
    " float32[:, ::1], int64[::1], int64, float32[:, ::1], int64[::1])"
)
def update_windows(
    streams: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    column_list: npt.NDArray[np.int64],
    features: npt.NDArray[np.int64],
    stream: int,
    f32_lanes: npt.NDArray[np.float32],
    f64_lanes: npt.NDArray[np.float64],
    i64_lanes: npt.NDArray[np.int64],
    lane: int,
    rows: npt.NDArray[np.float32],
    stamps: npt.NDArray[np.int64],
    n: int,
    vectors: npt.NDArray[np.float32],
    vector_rows: npt.NDArray[np.int64],
) -> int:
    """Push n rows of one stream of one lane; emit a feature vector at each row where the trigger group hops and all groups are warm.

    Args:
        streams, groups, column_list, features: the plan's tables. Group 0 triggers.
        stream: row of the stream table.
        f32_lanes, f64_lanes, i64_lanes: state, one row a lane. The float32 row begins with the latest value of every feature.
        lane: whose state.
        rows: float32 (max_rows, C), finite; the first n are read.
        stamps: int64 (max_rows,), ns. A stamp that does not rise means that the sender's clock was set back: the windows start anew.
        n: rows to read.
        vectors: float32 (max_rows, F), written: the emitted vectors.
        vector_rows: int64 (max_rows,), written: the row that completed each vector.

    Returns:
        How many vectors were emitted.
    """
    f32 = f32_lanes[lane]
    f64 = f64_lanes[lane]
    i64 = i64_lanes[lane]
    state = streams[stream, S_STATE]
    channels = streams[stream, S_CHANNELS]
    capacity = streams[stream, S_CAPACITY]
    mask = capacity - 1
    emitted = 0
    for r in range(n):
        stamp = stamps[r]
        if i64[state + T_STARTED]:
            step = stamp - i64[state + T_LAST_STAMP]
            if step <= 0 or 0 < streams[stream, S_MAX_GAP] < step:
                i64[state + T_GAPS] += 1
                if step <= 0 or streams[stream, S_RESET_ON_GAP]:
                    reset_stream(streams, groups, stream, f64_lanes, i64_lanes, lane)
        is_first = i64[state + T_STARTED] == 0
        if is_first:
            i64[state + T_FIRST_STAMP] = stamp
            i64[state + T_LAST_STAMP] = stamp
            i64[state + T_STARTED] = 1
        tail = i64[state + T_TAIL]

        for g in range(streams[stream, S_GROUPS], streams[stream, S_GROUPS_END]):
            h = groups[g, G_STATE]
            if groups[g, G_BY_TIME]:
                oldest = stamp - groups[g, G_WINDOW]
                while i64[h + H_HEAD] < tail and i64[streams[stream, S_STAMPS] + (i64[h + H_HEAD] & mask)] <= oldest:
                    _drop_oldest(streams, groups, column_list, stream, g, f32, f64, i64)
                if tail - i64[h + H_HEAD] >= groups[g, G_CAPACITY]:
                    i64[state + T_OVERFLOW] += 1
                    _drop_oldest(streams, groups, column_list, stream, g, f32, f64, i64)
            elif tail - i64[h + H_HEAD] >= groups[g, G_WINDOW]:
                _drop_oldest(streams, groups, column_list, stream, g, f32, f64, i64)

        ring = streams[stream, S_RING] + (tail & mask) * channels
        for c in range(channels):
            f32[ring + c] = rows[r, c]
        i64[streams[stream, S_STAMPS] + (tail & mask)] = stamp
        for g in range(streams[stream, S_GROUPS], streams[stream, S_GROUPS_END]):
            _add_newest(streams, groups, column_list, stream, g, f32, f64, i64)
        i64[state + T_TAIL] = tail + 1

        is_due = False
        for g in range(streams[stream, S_GROUPS], streams[stream, S_GROUPS_END]):
            h = groups[g, G_STATE]
            hop = groups[g, G_HOP]
            if groups[g, G_HOP_BY_TIME]:
                hops = not is_first and stamp // hop != i64[state + T_LAST_STAMP] // hop
            else:
                hops = i64[h + H_ROWS] % hop == 0
            if groups[g, G_BY_TIME]:
                full = stamp - i64[state + T_FIRST_STAMP] >= groups[g, G_WINDOW]
            else:
                full = i64[h + H_ROWS] >= groups[g, G_WINDOW]
            if hops and full:
                i64[h + H_WARM] = 1
                is_due = is_due or g == 0
                for f in range(groups[g, G_FEATURES], groups[g, G_FEATURES_END]):
                    f32[f] = _evaluate(features[f, 0], features[f, 1], streams, groups, column_list, stream, g, f32, f64, i64)
        i64[state + T_LAST_STAMP] = stamp

        if is_due:
            for g in range(groups.shape[0]):
                if i64[groups[g, G_STATE] + H_WARM] == 0:
                    is_due = False
            if is_due:
                for f in range(features.shape[0]):
                    vectors[emitted, f] = f32[f]
                vector_rows[emitted] = r
                emitted += 1
    return emitted
