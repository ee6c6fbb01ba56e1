"""Rows onto a grid of stamps. Bounded output: a call that fills it says where to go on."""

import numpy as np
import numpy.typing as npt

from edge.kernels import clean_layout as k
from edge.kernels.jit import kernel
from edge.kernels.settle import derive

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float32]


@kernel("int64(int64, int64, int64)")
def grid_stamp(point: int, cycle_ns: int, points: int) -> int:
    """Stamp of a grid point, ns: ``floor(point * cycle_ns / points)``, with no product that an int64 cannot hold."""
    whole = point // points
    return whole * cycle_ns + (point - whole * points) * cycle_ns // points


@kernel("int64(int64, int64, int64)")
def last_point(stamp: int, cycle_ns: int, points: int) -> int:
    """The last grid point whose stamp is not after this one."""
    whole = stamp // cycle_ns
    return whole * points + ((stamp - whole * cycle_ns + 1) * points - 1) // cycle_ns


@kernel(
    "int64(int64, int64, int64, float32[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64[::1], float64[:, ::1], int64[:, ::1], int64,"
    " float32[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64[::1], int64[::1], int64[::1])"
)
def resample_rows(
    start: int,
    n: int,
    lane: int,
    rows: _Values,
    stamps: _Ints,
    marks: _Ints,
    origins: _Ints,
    grid: _Ints,
    floats: _Floats,
    ints: _Ints,
    before: int,
    out_rows: _Values,
    out_stamps: _Ints,
    out_marks: _Ints,
    out_origins: _Ints,
    starts: _Ints,
    members: _Ints,
    written: _Ints,
) -> int:
    """Give the value at every grid point up to the last row.

    A point between two rows comes with the second of them, and carries that row's origin and the marks of both. A row that is on a
    point is given as it is. Between rows further apart than the longest gap there is nothing.

    Args:
        start, n: rows to read.
        lane: whose.
        rows: float32 (>= n, C + 1), channels and quality.
        stamps, marks: int64 (>= n,), alike; stamps rise.
        origins: int64 (>= n, 2), see edge.kernels.clean.
        grid: int64 (4,): ns in a cycle, grid points in a cycle, longest gap in ns, 1 to hold instead of drawing a line.
        floats, ints: the state of all lanes; changed.
        before: column of ``floats`` where the row before is.
        out_rows: float32 (cap, C + D + 1): channels, derived channels, quality.
        out_stamps, out_marks, out_origins: alike.
        starts, members: see edge.kernels.settle.derive.
        written: int64 (1,), set: rows in the output.

    Returns:
        The row to go on with when the output is full, otherwise n.
    """
    columns = rows.shape[1]
    channels = columns - 1
    scored = out_rows.shape[1] - 1
    cycle_ns, points, gap_ns, holds = grid[0], grid[1], grid[2], grid[3]
    m = 0
    for i in range(start, n):
        stamp = stamps[i]
        last = last_point(stamp, cycle_ns, points)
        is_on_grid = grid_stamp(last, cycle_ns, points) == stamp
        t0 = ints[lane, k.I_BEFORE]
        is_joined = t0 != k.NO_STAMP and stamp - t0 <= gap_ns
        if not is_joined:
            ints[lane, k.I_NEXT] = last if is_on_grid else last + 1
        while ints[lane, k.I_NEXT] <= last:
            if m == out_rows.shape[0]:
                written[0] = m
                return i
            t = grid_stamp(ints[lane, k.I_NEXT], cycle_ns, points)
            out_marks[m] = marks[i]
            if t == stamp:
                for c in range(columns):
                    out_rows[m, c if c < channels else scored] = rows[i, c]
            else:
                part = 0.0 if holds else (t - t0) / (stamp - t0)
                for c in range(columns):
                    x0 = floats[lane, before + c]
                    out_rows[m, c if c < channels else scored] = x0 + (np.float64(rows[i, c]) - x0) * part
                out_marks[m] = ints[lane, k.I_MARKS] if holds else out_marks[m] | ints[lane, k.I_MARKS]
            out_stamps[m] = t
            out_origins[m, 0] = origins[i, 0]
            out_origins[m, 1] = origins[i, 1]
            derive(out_rows, out_marks, m, channels, starts, members)
            ints[lane, k.I_NEXT] += 1
            m += 1
        for c in range(columns):
            floats[lane, before + c] = rows[i, c]
        ints[lane, k.I_MARKS] = marks[i]
        ints[lane, k.I_BEFORE] = stamp
    written[0] = m
    return n
