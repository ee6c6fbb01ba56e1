"""The jobs of one window: which mechanism runs on which channel, for which features."""

from typing import Any

from edge.kernels import layout as k
from edge.kernels.extremes import move_extrema, move_places
from edge.kernels.jit import part
from edge.kernels.memory import (
    float32s,
    float64_pointer,
    int64s,
)
from edge.kernels.ordered import move_order
from edge.kernels.products import move_products
from edge.kernels.scan import apply_function, copy_window, point, read_spectrum, scan, spectrum
from edge.kernels.steps import move_bins, move_crossings, move_filled, move_path, smooth, watch
from edge.kernels.sums import move_higher, move_moments

_SECONDS = 1e-9


@part
def run_jobs(
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
