"""All windows of one stream of one lane, row by row: the only kernel of the feature room that runs per message."""

import numpy as np
import numpy.typing as npt

from edge.kernels.aggregate import add_newest, drop_oldest, evaluate
from edge.kernels.jit import kernel
from edge.kernels.layout import (
    G_BACK,
    G_BY_TIME,
    G_CAPACITY,
    G_COLUMNS,
    G_FEATURES,
    G_FEATURES_END,
    G_HOP,
    G_HOP_BY_TIME,
    G_STATE,
    G_WINDOW,
    GROUP_STATE,
    H_HEAD,
    H_MID,
    H_ROWS,
    H_WARM,
    S_CAPACITY,
    S_CHANNELS,
    S_GROUPS,
    S_GROUPS_END,
    S_MAX_GAP,
    S_RESET_ON_GAP,
    S_RING,
    S_STAMPS,
    S_STATE,
    T_FIRST_STAMP,
    T_GAPS,
    T_LAST_STAMP,
    T_OVERFLOW,
    T_STARTED,
    T_TAIL,
)


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
                    drop_oldest(streams, groups, column_list, stream, g, f32, f64, i64)
                if tail - i64[h + H_HEAD] >= groups[g, G_CAPACITY]:
                    i64[state + T_OVERFLOW] += 1
                    drop_oldest(streams, groups, column_list, stream, g, f32, f64, i64)
            elif tail - i64[h + H_HEAD] >= groups[g, G_WINDOW]:
                drop_oldest(streams, groups, column_list, stream, g, f32, f64, i64)

        ring = streams[stream, S_RING] + (tail & mask) * channels
        for c in range(channels):
            f32[ring + c] = rows[r, c]
        i64[streams[stream, S_STAMPS] + (tail & mask)] = stamp
        for g in range(streams[stream, S_GROUPS], streams[stream, S_GROUPS_END]):
            add_newest(streams, groups, column_list, stream, g, f32, f64, i64)
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
                    f32[f] = evaluate(features[f, 0], features[f, 1], streams, groups, column_list, stream, g, f32, f64, i64)
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
