"""Cleaning of a block of rows: calibrate, judge every value, fill what is missing, score, and release in order of stamps.

One call a block. Every value is judged by what came before it in its own channel and lane, so that any split of a stream into blocks
gives the same bits. Values are float32 throughout; arithmetic on them is float64. State: see edge.kernels.clean_layout.
"""

import numpy as np
import numpy.typing as npt

from edge.kernels import clean_layout as k
from edge.kernels.hampel import spike_median
from edge.kernels.jit import kernel
from edge.kernels.settle import derive, drain, score

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float32]


@kernel(
    "int64(float32[:, ::1], int64[::1], int64, int64, int64, int64, float32[::1], float32[::1], float64[:, ::1], int64[:, ::1],"
    " float64[:, ::1], int64[:, ::1], int64[::1], float64[::1], float64[:, ::1], int64[:, ::1],"
    " float32[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64[::1])"
)
def clean_rows(
    rows: _Values,
    stamps: _Ints,
    n: int,
    received_ns: int,
    seq: int,
    lane: int,
    low: _Values,
    high: _Values,
    table: _Floats,
    flags: _Ints,
    matrices: _Floats,
    axes: _Ints,
    settings: _Ints,
    tuning: _Floats,
    floats: _Floats,
    ints: _Ints,
    out_rows: _Values,
    out_stamps: _Ints,
    out_marks: _Ints,
    out_origins: _Ints,
    starts: _Ints,
    members: _Ints,
    counts: _Ints,
    outcomes: _Ints,
) -> int:
    """Clean the rows of a block.

    Args:
        rows: float32 (>= n, C), as measured.
        stamps: int64 (>= n,), ns; rows that are not newer than everything before are late.
        n: rows to read.
        received_ns, seq: of the message they came in.
        lane: whose rows.
        low, high: float32 (C,), inclusive bounds of calibrated values.
        table, flags, settings, tuning: see edge.kernels.clean_layout.
        matrices: float64 (M, 9), 3 x 3 row by row.
        axes: int64 (M, 3), the columns that each of them mixes.
        floats, ints: the state of all lanes; changed.
        out_rows: float32 (>= n + waiting, C + D + 1): channels, derived channels, quality.
        out_stamps, out_marks: int64, alike.
        out_origins: int64 (.., 2), when the row's message was received, and its counter.
        starts, members: see derive.
        counts: int64 (ACTIONS, C), added to.
        outcomes: int64 (OUTCOMES,), set.

    Returns:
        How many rows were written.
    """
    channels = rows.shape[1]
    scored = out_rows.shape[1] - 1
    policy = settings[k.POLICY]
    age_ns = settings[k.AGE_NS]
    width = settings[k.SPIKE_WINDOW]
    capacity = settings[k.WAITING_ROWS]
    good_values, stuck_values = k.F_ROW + channels, k.F_ROW + 2 * channels
    rings = 1 + channels * k.BY_CHANNEL_FLOATS
    sorteds = rings + channels * width
    values = sorteds + channels * width
    good_stamps, stuck_since = k.I_HEADER, k.I_HEADER + channels
    filled, oldest, pending = k.I_HEADER + 2 * channels, k.I_HEADER + 3 * channels, k.I_HEADER + 4 * channels
    slots = k.I_HEADER + channels * k.BY_CHANNEL_INTS
    outcomes[:] = 0
    m = 0
    for i in range(n):
        stamp = stamps[i]
        seen = ints[lane, k.I_SEEN]
        if stamp <= seen:
            outcomes[k.R_LATE] += 1
            continue
        if settings[k.GAP_NS] and seen != k.NO_STAMP and stamp - seen > settings[k.GAP_NS]:
            for c in range(channels):  # across a gap, neither a window nor an unchanged value says anything
                ints[lane, filled + c] = 0
                ints[lane, oldest + c] = 0
                ints[lane, stuck_since + c] = k.NO_STAMP
        ints[lane, k.I_SEEN] = stamp
        if ints[lane, k.I_WAITING]:
            m = drain(
                floats, ints, lane, stamp - age_ns, k.NO_STAMP, m, settings, tuning,
                out_rows, out_stamps, out_marks, out_origins, starts, members, counts, outcomes,
            )  # fmt: skip
        for c in range(channels):
            floats[lane, k.F_ROW + c] = (np.float64(rows[i, c]) - table[k.OFFSET, c]) * table[k.SCALE, c]
        for a in range(axes.shape[0]):
            x = floats[lane, k.F_ROW + axes[a, 0]]
            y = floats[lane, k.F_ROW + axes[a, 1]]
            z = floats[lane, k.F_ROW + axes[a, 2]]
            for r in range(3):
                total = 0.0
                if matrices[a, 3 * r] != 0.0:  # a bad axis spoils only what depends on it
                    total += matrices[a, 3 * r] * x
                if matrices[a, 3 * r + 1] != 0.0:
                    total += matrices[a, 3 * r + 1] * y
                if matrices[a, 3 * r + 2] != 0.0:
                    total += matrices[a, 3 * r + 2] * z
                floats[lane, k.F_ROW + axes[a, r]] = total
        missing = marks = np.int64(0)
        good = channels
        reason = k.R_MISSING
        for c in range(channels):
            value = np.float32(floats[lane, k.F_ROW + c] * table[k.FACTOR, c] + table[k.SHIFT, c])
            x = np.float64(value)
            fault = -1
            if not np.isfinite(value):
                fault = k.A_NOT_FINITE
            else:
                if flags[k.WATCH_STUCK, c]:
                    if ints[lane, stuck_since + c] == k.NO_STAMP or floats[lane, stuck_values + c] != x:
                        floats[lane, stuck_values + c] = x
                        ints[lane, stuck_since + c] = stamp
                    elif stamp - ints[lane, stuck_since + c] > settings[k.STUCK_NS]:
                        fault = k.A_STUCK
                last = ints[lane, good_stamps + c]
                if value < low[c] or value > high[c]:
                    fault = k.A_RANGE
                elif last != k.NO_STAMP and abs(x - floats[lane, good_values + c]) > table[k.MAX_RATE, c] * ((stamp - last) * 1e-9):
                    fault = k.A_RATE
            if fault >= 0:
                counts[fault, c] += 1
                reason = min(reason, fault)
                missing |= np.int64(1) << c
                good -= 1
                floats[lane, k.F_ROW + c] = np.nan
                continue
            if flags[k.WATCH_SPIKES, c]:
                median = spike_median(
                    floats, ints, lane, rings + c * width, sorteds + c * width, filled + c, oldest + c, width,
                    x, tuning[k.SIGMAS], table[k.FLOOR, c],
                )  # fmt: skip
                if not np.isnan(median):
                    counts[k.A_SPIKE, c] += 1
                    marks |= np.int64(1) << c
                    good -= 1
                    floats[lane, k.F_ROW + c] = np.float64(np.float32(median))
                    continue
            floats[lane, k.F_ROW + c] = x
            if ints[lane, pending + c]:
                x0, t0 = floats[lane, good_values + c], ints[lane, good_stamps + c]
                for j in range(ints[lane, k.I_WAITING]):
                    place = (ints[lane, k.I_HEAD] + j) % capacity
                    slot = slots + place * k.WAITING_COLUMNS
                    if ints[lane, slot + k.W_GOOD] >= 0 and ints[lane, slot + k.W_MISSING] >> c & 1:
                        part = (ints[lane, slot + k.W_STAMP] - t0) / (stamp - t0)
                        floats[lane, values + place * channels + c] = np.float64(np.float32(x0 + (x - x0) * part))
                        ints[lane, slot + k.W_MISSING] ^= np.int64(1) << c
                        ints[lane, slot + k.W_FILLED] |= np.int64(1) << c
                ints[lane, pending + c] = 0
            floats[lane, good_values + c] = x
            ints[lane, good_stamps + c] = stamp
        if ints[lane, k.I_WAITING]:
            m = drain(
                floats, ints, lane, k.NO_STAMP, k.NO_STAMP, m, settings, tuning,
                out_rows, out_stamps, out_marks, out_origins, starts, members, counts, outcomes,
            )  # fmt: skip
        is_refused = missing != 0 and policy == k.REJECT
        if missing and policy != k.REJECT:
            reason = k.R_MISSING
            for c in range(channels):
                if missing >> c & 1:
                    last = ints[lane, good_stamps + c]
                    if policy == k.FILL_CONSTANT:
                        floats[lane, k.F_ROW + c] = table[k.CONSTANT, c]
                        is_refused |= np.isnan(table[k.CONSTANT, c])
                    else:
                        is_refused |= last == k.NO_STAMP or stamp - last > age_ns
                        if policy == k.HOLD:
                            floats[lane, k.F_ROW + c] = floats[lane, good_values + c]
        if ints[lane, k.I_WAITING] == capacity and capacity > 0:
            oldest_stamp = ints[lane, slots + ints[lane, k.I_HEAD] * k.WAITING_COLUMNS + k.W_STAMP]
            m = drain(
                floats, ints, lane, oldest_stamp + 1, k.NO_STAMP, m, settings, tuning,
                out_rows, out_stamps, out_marks, out_origins, starts, members, counts, outcomes,
            )  # fmt: skip
        waiting = ints[lane, k.I_WAITING]
        if policy == k.LINEAR and (waiting > 0 or (missing != 0 and not is_refused)):
            place = (ints[lane, k.I_HEAD] + waiting) % capacity
            slot = slots + place * k.WAITING_COLUMNS
            ints[lane, slot + k.W_STAMP] = stamp
            ints[lane, slot + k.W_RECEIVED] = received_ns
            ints[lane, slot + k.W_SEQ] = seq
            ints[lane, slot + k.W_MISSING] = missing
            ints[lane, slot + k.W_MARKS] = marks
            ints[lane, slot + k.W_FILLED] = 0
            ints[lane, slot + k.W_GOOD] = -1 if is_refused else good  # a refused one keeps its place, so that rows are scored in order
            for c in range(channels):
                floats[lane, values + place * channels + c] = floats[lane, k.F_ROW + c]
                if missing >> c & 1 and not is_refused:
                    ints[lane, pending + c] += 1
            ints[lane, k.I_WAITING] = waiting + 1
            continue
        if is_refused:
            outcomes[reason] += 1
            score(floats, ints, lane, stamp, 0.0, tuning[k.RATE_HZ])
            continue
        for c in range(channels):
            out_rows[m, c] = floats[lane, k.F_ROW + c]
            if missing >> c & 1:
                counts[k.A_HOLD if policy == k.HOLD else k.A_CONSTANT, c] += 1
        out_stamps[m] = stamp
        out_marks[m] = marks | missing
        out_origins[m, 0] = received_ns
        out_origins[m, 1] = seq
        score(floats, ints, lane, stamp, good / channels, tuning[k.RATE_HZ])
        out_rows[m, scored] = floats[lane, k.F_QUALITY]
        derive(out_rows, out_marks, m, channels, starts, members)
        outcomes[k.R_USED] += 1
        m += 1
    return m
