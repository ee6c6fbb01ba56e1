"""All windows of one stream of one lane, a chunk of rows at a time: the only kernel of the feature room that runs per message.

A chunk goes through the jobs one after the other, each over one channel at a time, so that what a job moves stays in registers. Nothing
depends on where a chunk or a message ends: the same rows give the same bits.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels import layout as k
from edge.kernels.extremes import move_extrema, move_places
from edge.kernels.jit import kernel, part
from edge.kernels.memory import (
    float32_pointer,
    float32_table,
    float32s,
    float64_pointer,
    float64s,
    int64_pointer,
    int64_table,
    int64s,
)
from edge.kernels.ordered import clear_order, move_order
from edge.kernels.scan import apply_function, copy_window, point, read_spectrum, scan, spectrum
from edge.kernels.steps import move_bins, move_crossings, move_filled, move_path, smooth, watch
from edge.kernels.sums import move_higher, move_moments, move_products

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
def _due(desk: Any, g: int) -> Any:
    """The rows of the chunk at which group g is due."""
    return int64_pointer(desk[k.D_DUE] + 8 * desk[k.D_CHUNK] * g)


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
            if head == i:
                first = stamp
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


@part
def _move_group(
    desk: Any, streams: Any, groups: Any, jobs: Any, entries: Any, numbers: Any, lists: Any, stream: int, g: int, f32: Any, f64: Any,
    i64: Any, heads: Any, mids: Any, due: Any, dues: int, parts: Any, values: Any, tail: int, n: int,
) -> None:  # fmt: skip
    """Run the jobs of a group over a chunk of rows that are in the ring already."""
    h = groups[g, k.G_STATE]
    capacity = streams[stream, k.S_CAPACITY]
    mask = capacity - 1
    ring = streams[stream, k.S_RING]
    stamps = streams[stream, k.S_STAMPS]
    fmask = groups[g, k.G_CAPACITY] - 1
    before = i64[h + k.H_HEAD]
    rows = i64[h + k.H_ROWS]
    by_time = groups[g, k.G_BY_TIME]
    window = groups[g, k.G_WINDOW]
    work = float64_pointer(desk[k.D_WORK])
    width = desk[k.D_FEATURES]
    for j in range(groups[g, k.G_JOBS], groups[g, k.G_JOBS_END]):
        kind = jobs[j, k.J_KIND]
        channel = jobs[j, k.J_CHANNEL]
        x = ring + channel * capacity
        e0 = jobs[j, k.J_ENTRIES]
        e1 = jobs[j, k.J_ENTRIES_END]
        a32 = jobs[j, k.J_F32]
        a64 = jobs[j, k.J_F64]
        ai = jobs[j, k.J_I64]
        if kind == k.MOMENTS:
            move_moments(f32, f64, x, mask, fmask, a64, heads, mids, tail, n, due, dues, parts, work, entries, e0, e1, values, width)
        elif kind == k.EXTREMA:
            move_extrema(f32, x, mask, fmask, a32, heads, mids, tail, n, due, dues, work, entries, e0, e1, values, width)
        elif kind == k.HIGHER:
            move_higher(f32, f64, x, mask, fmask, a64, heads, mids, tail, n, due, dues, parts, work, entries, e0, e1, values, width)
        elif kind == k.TREND or kind == k.COMOMENTS:
            y = -1 if kind == k.TREND else ring + jobs[j, k.J_OTHER] * capacity
            move_products(
                f32,
                f64,
                i64,
                x,
                y,
                stamps,
                mask,
                fmask,
                a64,
                heads,
                mids,
                tail,
                n,
                due,
                dues,
                parts,
                work,
                entries,
                e0,
                e1,
                values,
                width,
            )
        elif kind == k.PLACES:
            move_places(f32, i64, x, stamps, mask, fmask, ai, heads, mids, tail, n, due, dues, entries, e0, e1, values, width)
        elif kind == k.PATH:
            move_path(f32, f64, i64, x, stamps, mask, fmask, a64, heads, mids, tail, n, due, dues, entries, e0, e1, values, width)
        elif kind == k.CROSSINGS:
            move_crossings(f32, i64, x, mask, ai, before, heads, tail, n, due, dues, entries, e0, e1, values, width)
        elif kind == k.FILLED:
            period = streams[stream, k.S_PERIOD]
            span = window if by_time else 0
            marks = streams[stream, k.S_MARKS]
            move_filled(
                i64, marks, stamps, channel, mask, ai, before, heads, tail, n, due, dues, period, span, entries, e0, e1, values, width
            )
        elif kind == k.BINS:
            number = jobs[j, k.J_OTHER]
            low = numbers[number]
            scale = numbers[number + 1]
            bins = jobs[j, k.J_SIZE]
            move_bins(f32, i64, x, mask, ai, low, scale, bins, before, heads, tail, n, due, dues, entries, e0, e1, values, width)
        elif kind == k.SMOOTH:
            last = i64[streams[stream, k.S_STATE] + k.T_LAST_STAMP]
            smooth(f32, f64, i64, x, stamps, mask, a64, rows, last, by_time, window, tail, n, due, dues, entries, e0, e1, values, width)
        elif kind == k.SINCE:
            threshold = numbers[entries[e0, k.E_NUMBER]]
            operation = entries[e0, k.E_OPERATION]
            watch(f32, i64, x, stamps, mask, ai, rows, operation, threshold, tail, n, due, dues, entries, e0, e1, values, width)
        elif kind == k.ORDER:
            blocks = jobs[j, k.J_OTHER]
            size = jobs[j, k.J_SIZE]
            move_order(f32, i64, x, mask, a32, ai, blocks, size, before, heads, tail, n, due, dues, entries, e0, e1, numbers, values, width)
        else:
            _read_windows(
                desk, kind, entries, numbers, lists, f32, i64, x, ring, capacity, stamps, heads, due, dues, values, tail, e0, e1, width
            )


@part
def _read_windows(
    desk: Any, kind: int, entries: Any, numbers: Any, lists: Any, f32: Any, i64: Any, x: int, ring: int, capacity: int, stamps: int,
    heads: Any, due: Any, dues: int, values: Any, tail: int, e0: int, e1: int, width: int,
) -> None:  # fmt: skip
    """Jobs without a state of their own: they look at the window whenever a vector is due."""
    mask = capacity - 1
    scratch = float64_pointer(desk[k.D_SCRATCH])
    for v in range(dues):
        head = heads[due[v]]
        i = tail + due[v]
        if kind == k.POINT:
            for e in range(e0, e1):
                p = entries[e, k.E_I]
                q = entries[e, k.E_J]
                operation = entries[e, k.E_OPERATION]
                result = point(f32, i64, x, ring, capacity, stamps, mask, head, i, operation, p, q, lists)
                values[v * width + entries[e, k.E_FEATURE]] = result
        elif kind == k.SCAN:
            n = copy_window(f32, x, mask, head, i, scratch)
            scan(scratch, n, entries, e0, e1, int64s(desk[k.D_T], desk[k.D_SCRATCH_SIZE] // 2), values, width, v)
        elif kind == k.SPECTRUM:
            n = copy_window(f32, x, mask, head, i, scratch)
            size = 2
            while size < n:
                size *= 2
            twiddles = float64_pointer(desk[k.D_TWIDDLES])
            unit = spectrum(scratch, n, size, twiddles, desk[k.D_N_TWIDDLES] // 2)
            lasts = i64[stamps + (i & mask)] - i64[stamps + (head & mask)]
            rate = (n - 1) / (lasts * _SECONDS) if n > 1 else 0.0
            read_spectrum(scratch, size, unit, rate, entries, e0, e1, numbers, values, width, v)
        else:
            view = float32s(desk[k.D_X], desk[k.D_SCRATCH_SIZE] // 2)
            times = int64s(desk[k.D_T], desk[k.D_SCRATCH_SIZE] // 2)
            for e in range(e0, e1):
                result = apply_function(f32, i64, x, stamps, mask, head, i, view, times, desk[k.D_X], desk[k.D_T], lists[entries[e, k.E_I]])
                values[v * width + entries[e, k.E_FEATURE]] = result


@part
def _is_joined(streams: Any, groups: Any, stream: int, stamp: int, i64: Any) -> bool:
    """Whether all that comes from elsewhere is there: other streams' windows, not too old, and the tables' rows."""
    for g in range(groups.shape[0]):
        other = groups[g, k.G_STREAM]
        if other == stream:
            continue
        if i64[groups[g, k.G_STATE] + k.H_WARM] == 0:
            return False
        oldest = streams[other, k.S_ASOF]
        if oldest > 0 and stamp - i64[streams[other, k.S_STATE] + k.T_LAST_STAMP] > oldest:
            i64[k.L_UNALIGNED] += 1
            return False
    if i64[k.L_TABLES] > 0:
        i64[k.L_UNJOINED] += 1
        return False
    return True


@part
def _assemble(
    desk: Any, streams: Any, groups: Any, lists: Any, stream: int, f32: Any, i64: Any, dues: Any, values: Any, first_row: int,
    tail: int, emitted: int,
) -> int:  # fmt: skip
    """Put the chunk's vectors together: at each row where the trigger is due, every feature's latest value."""
    features = desk[k.D_FEATURES]
    vectors = float32_table(desk[k.D_VECTORS], desk[k.D_MAX_VECTORS], features)
    vector_rows = int64s(desk[k.D_VECTOR_ROWS], desk[k.D_MAX_VECTORS])
    stamps = streams[stream, k.S_STAMPS]
    mask = streams[stream, k.S_CAPACITY] - 1
    for v in range(dues[0]):
        r = _due(desk, 0)[v]
        stamp = i64[stamps + ((tail + r) & mask)]
        is_whole = True
        for g in range(streams[stream, k.S_GROUPS], streams[stream, k.S_GROUPS_END]):
            if i64[groups[g, k.G_STATE] + k.H_WARM] == 0 and (dues[g] == 0 or _due(desk, g)[0] > r):
                is_whole = False
        if not is_whole or not _is_joined(streams, groups, stream, stamp, i64):
            continue
        for f in range(features):
            vectors[emitted, f] = f32[f]
        for g in range(streams[stream, k.S_GROUPS], streams[stream, k.S_GROUPS_END]):
            latest = dues[g] - 1
            while latest >= 0 and _due(desk, g)[latest] > r:
                latest -= 1
            if latest >= 0:
                for f in range(groups[g, k.G_FEATURES], groups[g, k.G_FEATURES_END]):
                    vectors[emitted, f] = values[latest * features + f]
        for a in range(desk[k.D_N_AGES]):
            feature = lists[desk[k.D_AGES] + 2 * a]
            other = lists[desk[k.D_AGES] + 2 * a + 1]
            newest = stamp if other == stream else i64[streams[other, k.S_STATE] + k.T_LAST_STAMP]
            vectors[emitted, feature] = (stamp - newest) * _SECONDS
        vector_rows[emitted] = first_row + r
        emitted += 1
    return emitted


@part
def _name_rows(desk: Any, lists: Any, values: Any, dues: int, first_row: int, emitted: int) -> int:
    """Vectors that are in their place already only need the numbers of their rows."""
    vector_rows = int64_pointer(desk[k.D_VECTOR_ROWS])
    due = _due(desk, 0)
    for v in range(dues):
        vector_rows[emitted + v] = first_row + due[v]
        for a in range(desk[k.D_N_AGES]):
            values[v * desk[k.D_FEATURES] + lists[desk[k.D_AGES] + 2 * a]] = 0.0
    return emitted + dues


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
        while b < stop and b - a < chunk and stamps[b] > stamps[b - 1] and not 0 < longest < stamps[b] - stamps[b - 1]:
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
            due = _due(desk, g)
            dues[g] = _book(streams, groups, stream, g, i64, heads, mids, due, parts, tail, n)
            _move_group(
                desk, streams, groups, jobs, entries, numbers, lists, stream, g, f32, f64, i64, heads, mids, due, dues[g], parts,
                values, tail, n,
            )  # fmt: skip
            i64[h + k.H_HEAD] = heads[n - 1]
            i64[h + k.H_MID] = mids[n - 1]
            i64[h + k.H_ROWS] += n
        if is_direct:
            emitted = _name_rows(desk, lists, values, dues[0], a, emitted)
        elif streams[stream, k.S_GROUPS] == 0 and streams[stream, k.S_GROUPS_END] > 0:
            emitted = _assemble(desk, streams, groups, lists, stream, f32, i64, dues, values, a, tail, emitted)
        for g in range(streams[stream, k.S_GROUPS], streams[stream, k.S_GROUPS_END]):
            if dues[g] > 0:
                i64[groups[g, k.G_STATE] + k.H_WARM] = 1
                for f in range(groups[g, k.G_FEATURES], groups[g, k.G_FEATURES_END]):
                    f32[f] = values[(dues[g] - 1) * width + f]
        i64[state + k.T_TAIL] = tail + n
        i64[state + k.T_LAST_STAMP] = stamps[b - 1]
        a = b
    return emitted
