"""All windows of one stream of one lane, a chunk of rows at a time: the only kernel of the feature room that runs per message.

A chunk goes through the jobs one after the other, each over one channel at a time, so that what a job moves stays in registers. Nothing
depends on where a chunk or a message ends: the same rows give the same bits.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels import layout as k
from edge.kernels.jit import kernel, part
from edge.kernels.jobs import run_jobs
from edge.kernels.memory import (
    float32_pointer,
    float32_table,
    float64_pointer,
    float64s,
    int64_pointer,
    int64_table,
    int64s,
)
from edge.kernels.ordered import clear_order
from edge.kernels.vectors import assemble, due_rows, name_rows

_SECONDS = 1e-9


@part
def _lane(desk: Any, lane: int) -> Any:
    """The three rows of a lane's state."""
    f32 = float32_pointer(desk[k.D_F32] + 4 * desk[k.D_F32_WIDTH] * lane)
    f64 = float64_pointer(desk[k.D_F64] + 8 * desk[k.D_F64_WIDTH] * lane)
    i64 = int64_pointer(desk[k.D_I64] + 8 * desk[k.D_I64_WIDTH] * lane)
    return f32, f64, i64


@part
def _reset(streams: Any, groups: Any, jobs: Any, stream: int, i64: Any) -> None:
    state = streams[stream, k.S_STATE]
    i64[state + k.T_STARTED] = 0
    tail = i64[state + k.T_TAIL]
    for g in range(streams[stream, k.S_GROUPS], streams[stream, k.S_GROUPS_END]):
        h = groups[g, k.G_STATE]
        i64[h + k.H_HEAD] = tail
        i64[h + k.H_MID] = tail
        i64[h + k.H_ROWS] = 0
        i64[h + k.H_WARM] = 0
        for j in range(groups[g, k.G_JOBS], groups[g, k.G_JOBS_END]):
            kind = jobs[j, k.J_KIND]
            at = jobs[j, k.J_I64]
            if kind == k.CROSSINGS or kind == k.FILLED:
                i64[at] = 0
            elif kind == k.BINS:
                for b in range(jobs[j, k.J_SIZE]):
                    i64[at + b] = 0
            elif kind == k.ORDER:
                clear_order(i64, at, jobs[j, k.J_OTHER])


@kernel("void(int64[::1], int64, int64)")
def reset_stream(desk: npt.NDArray[np.int64], stream: int, lane: int) -> None:
    """Forget the windows of one stream of one lane, as if it had never started. Counters of gaps and overflows stay.

    Args:
        desk: see edge.kernels.layout.
        stream: row of the stream table.
        lane: which row of the state.
    """
    streams = int64_table(desk[k.D_STREAMS], desk[k.D_N_STREAMS], k.STREAM_COLUMNS)
    groups = int64_table(desk[k.D_GROUPS], desk[k.D_N_GROUPS], k.GROUP_COLUMNS)
    jobs = int64_table(desk[k.D_JOBS], desk[k.D_N_JOBS], k.JOB_COLUMNS)
    _, _, i64 = _lane(desk, lane)
    _reset(streams, groups, jobs, stream, i64)


@part
def _book(streams: Any, groups: Any, stream: int, g: int, i64: Any, heads: Any, mids: Any, due: Any, parts: Any, tail: int, n: int) -> int:
    """Where the window of group g begins at each of n rows, where its back begins, and at which rows it is due. How many are due."""
    state = streams[stream, k.S_STATE]
    stamps = streams[stream, k.S_STAMPS]
    mask = streams[stream, k.S_CAPACITY] - 1
    h = groups[g, k.G_STATE]
    head = i64[h + k.H_HEAD]
    mid = i64[h + k.H_MID]
    rows = i64[h + k.H_ROWS]
    by_time = groups[g, k.G_BY_TIME]
    window = groups[g, k.G_WINDOW]
    hop = groups[g, k.G_HOP]
    hop_by_time = groups[g, k.G_HOP_BY_TIME]
    first = i64[h + k.H_FIRST]
    before = i64[state + k.T_LAST_STAMP]
    limit = groups[g, k.G_CAPACITY] if by_time else window
    dues = 0
    for r in range(n):
        i = tail + r
        stamp = i64[stamps + (i & mask)]
        if by_time:
            oldest = stamp - window
            while head < i and i64[stamps + (head & mask)] <= oldest:
                head += 1
            if head == i:  # only at the first row of a chunk: nothing of before counts any longer
                first = stamp
                i64[h + k.H_WARM] = 0
        if i - head >= limit:
            i64[state + k.T_OVERFLOW] += by_time
            head = i - limit + 1
        if head > mid or rows + r == 0:
            mid = i  # the front is used up: the back becomes the new one
        heads[r] = head
        mids[r] = mid
        full = stamp - first >= window if by_time else rows + r + 1 >= window
        hops = (rows + r > 0 and stamp // hop != before // hop) if hop_by_time else (rows + r + 1) % hop == 0
        if full and hops:
            due[dues] = r
            front = np.float64(mid - head)
            back = np.float64(i + 1 - mid)
            parts[k.P_BACK_INVERSE + dues] = 1.0 / back
            parts[k.P_FRONT_INVERSE + dues] = 1.0 / front if head < mid else 0.0
            parts[k.P_INVERSE + dues] = 1.0 / (front + back)
            parts[k.P_HAS_FRONT + dues] = 1.0 if head < mid else 0.0
            parts[k.P_FRONT_SHARE + dues] = front / (front + back)
            parts[k.P_WEIGHT + dues] = front * back / (front + back)
            parts[k.P_FRONT + dues] = front
            parts[k.P_BACK + dues] = back
            dues += 1
        before = stamp
    i64[h + k.H_FIRST] = first
    return dues


@kernel("int64(int64[::1], int64, int64, int64, int64, int64, int64, int64)")
def update_windows(
    desk: npt.NDArray[np.int64], stream: int, lane: int, rows_at: int, stamps_at: int, marks_at: int, start: int, stop: int
) -> int:
    """Push rows of one stream of one lane; emit a feature vector at each row where the trigger group hops and all groups are warm.

    Group 0 triggers. A stamp that does not rise means that the sender's clock was set back: the windows start anew.

    Args:
        desk: see edge.kernels.layout; vectors and vector_rows, which it points to, are written from their beginning.
        stream: row of the stream table.
        lane: whose state.
        rows_at: address of float32 (n, C), finite.
        stamps_at: address of int64 (n,), ns.
        marks_at: address of int64 (n,): bit c says that the value of channel c was filled in.
        start, stop: rows to push.

    Returns:
        How many vectors were emitted.
    """
    streams = int64_table(desk[k.D_STREAMS], desk[k.D_N_STREAMS], k.STREAM_COLUMNS)
    groups = int64_table(desk[k.D_GROUPS], desk[k.D_N_GROUPS], k.GROUP_COLUMNS)
    jobs = int64_table(desk[k.D_JOBS], desk[k.D_N_JOBS], k.JOB_COLUMNS)
    entries = int64_table(desk[k.D_ENTRIES], desk[k.D_N_ENTRIES], k.ENTRY_COLUMNS)
    numbers = float64s(desk[k.D_NUMBERS], desk[k.D_N_NUMBERS])
    lists = int64s(desk[k.D_LISTS], desk[k.D_N_LISTS])
    chunk = desk[k.D_CHUNK]
    width = desk[k.D_FEATURES]
    values = float32_pointer(desk[k.D_VALUES])
    parts = float64_pointer(desk[k.D_PARTS])
    heads = int64_pointer(desk[k.D_HEADS])
    mids = int64_pointer(desk[k.D_MIDS])
    dues = int64_pointer(desk[k.D_DUES])
    f32, f64, i64 = _lane(desk, lane)
    state = streams[stream, k.S_STATE]
    channels = streams[stream, k.S_CHANNELS]
    capacity = streams[stream, k.S_CAPACITY]
    mask = capacity - 1
    ring = streams[stream, k.S_RING]
    longest = streams[stream, k.S_MAX_GAP]
    shortest = streams[stream, k.S_SHORTEST]
    rows = float32_table(rows_at, stop, channels)
    stamps = int64s(stamps_at, stop)
    marks = int64s(marks_at, stop)
    # With one group, what is due is the vector: no copies.
    is_direct = groups.shape[0] == 1 and groups[0, k.G_STREAM] == stream and groups[0, k.G_FEATURES_END] == desk[k.D_FEATURES]
    emitted = 0
    a = start
    while a < stop:
        if i64[state + k.T_STARTED]:
            step = stamps[a] - i64[state + k.T_LAST_STAMP]
            if step <= 0 or 0 < longest < step:
                i64[state + k.T_GAPS] += 1
                if step <= 0 or streams[stream, k.S_RESET_ON_GAP]:
                    _reset(streams, groups, jobs, stream, i64)
        if i64[state + k.T_STARTED] == 0:
            i64[state + k.T_LAST_STAMP] = stamps[a]
            i64[state + k.T_STARTED] = 1
        b = a + 1
        while b < stop and b - a < chunk:
            step = stamps[b] - stamps[b - 1]
            if step <= 0 or 0 < longest < step or 0 < shortest <= step:
                break  # a chunk begins where a window may start anew
            b += 1
        n = b - a
        tail = i64[state + k.T_TAIL]
        for r in range(n):
            slot = (tail + r) & mask
            for c in range(channels):
                f32[ring + c * capacity + slot] = rows[a + r, c]
            i64[streams[stream, k.S_STAMPS] + slot] = stamps[a + r]
            i64[streams[stream, k.S_MARKS] + slot] = marks[a + r]
        if is_direct:
            values = float32_pointer(desk[k.D_VECTORS] + 4 * width * emitted)
        for g in range(streams[stream, k.S_GROUPS], streams[stream, k.S_GROUPS_END]):
            h = groups[g, k.G_STATE]
            due = due_rows(desk, g)
            dues[g] = _book(streams, groups, stream, g, i64, heads, mids, due, parts, tail, n)
            run_jobs(
                desk, streams, groups, jobs, entries, numbers, lists, stream, g, f32, f64, i64, heads, mids, due, dues[g], parts,
                values, tail, n,
            )  # fmt: skip
            i64[h + k.H_HEAD] = heads[n - 1]
            i64[h + k.H_MID] = mids[n - 1]
            i64[h + k.H_ROWS] += n
        if is_direct:
            emitted = name_rows(desk, lists, values, dues[0], a, emitted)
        elif streams[stream, k.S_GROUPS] == 0 and streams[stream, k.S_GROUPS_END] > 0:
            emitted = assemble(desk, streams, groups, lists, stream, f32, i64, dues, values, a, tail, emitted)
        for g in range(streams[stream, k.S_GROUPS], streams[stream, k.S_GROUPS_END]):
            if dues[g] > 0:
                i64[groups[g, k.G_STATE] + k.H_WARM] = 1
                for f in range(groups[g, k.G_FEATURES], groups[g, k.G_FEATURES_END]):
                    f32[f] = values[(dues[g] - 1) * width + f]
        i64[state + k.T_TAIL] = tail + n
        i64[state + k.T_LAST_STAMP] = stamps[b - 1]
        a = b
    return emitted
