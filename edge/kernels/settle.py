"""What a settled row leaves behind: its score, its derived channels, and the rows that waited for it.

State and tables: see edge.kernels.clean_layout.
"""

import numpy as np
import numpy.typing as npt

from edge.kernels import clean_layout as k
from edge.kernels.jit import kernel

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float32]

_FLOAT32_MAX = 3.4028234663852886e38
_MOST_PERIODS = 1000  # 0.99^1000 is 4e-5: more missing rows change nothing


@kernel("void(float64[:, ::1], int64[:, ::1], int64, int64, float64, float64)")
def score(floats: _Floats, ints: _Ints, lane: int, stamp: int, share: float, rate_hz: float) -> None:
    """Bring the quality score of a lane up to date with a row that is settled.

    Args:
        floats, ints, lane: the state; changed.
        stamp: of the row, ns.
        share: of its channels that were measured and unsuspicious.
        rate_hz: whole periods missing since the row before count as rows with share 0; 0: not known.
    """
    quality = floats[lane, k.F_QUALITY]
    before = ints[lane, k.I_SETTLED]
    if before != k.NO_STAMP and rate_hz > 0.0:
        missing = min((stamp - before) * 1e-9 * rate_hz + 0.5, 1.0 + _MOST_PERIODS)
        power = int(missing) - 1
        factor = 0.99
        while power > 0:  # by squaring: the same bits everywhere, which pow() does not promise
            if power & 1:
                quality *= factor
            factor *= factor
            power >>= 1
    floats[lane, k.F_QUALITY] = quality + (share - quality) / 100.0
    ints[lane, k.I_SETTLED] = stamp


@kernel("void(float32[:, ::1], int64[::1], int64, int64, int64[::1], int64[::1])")
def derive(rows: _Values, marks: _Ints, row: int, channels: int, starts: _Ints, members: _Ints) -> None:
    """Append derived channels to a row: Euclidean norms, marked when one of their channels is.

    Args:
        rows: float32 (n, K); columns from ``channels`` on are written.
        marks: int64 (n,); changed.
        row: which.
        channels: C measured channels.
        starts: int64 (D + 1,): norm d is of ``members[starts[d]:starts[d + 1]]``.
        members: columns.
    """
    for d in range(starts.shape[0] - 1):
        total = 0.0
        for j in range(starts[d], starts[d + 1]):
            value = np.float64(rows[row, members[j]])
            total += value * value
            if marks[row] >> members[j] & 1:
                marks[row] |= np.int64(1) << (channels + d)
        rows[row, channels + d] = min(np.sqrt(total), _FLOAT32_MAX)


@kernel(
    "int64(float64[:, ::1], int64[:, ::1], int64, int64, int64, int64, int64[::1], float64[::1], float32[:, ::1], int64[::1], int64[::1],"
    " int64[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64[::1])"
)
def drain(
    floats: _Floats,
    ints: _Ints,
    lane: int,
    stamps_before: int,
    received_until: int,
    m: int,
    settings: _Ints,
    tuning: _Floats,
    out_rows: _Values,
    out_stamps: _Ints,
    out_marks: _Ints,
    out_origins: _Ints,
    starts: _Ints,
    members: _Ints,
    counts: _Ints,
    outcomes: _Ints,
) -> int:
    """Settle waiting rows from the front, up to the first that may wait on.

    Args:
        floats, ints, lane: the state; changed.
        stamps_before: rows with an older stamp wait no longer.
        received_until: nor do rows received at this time or before, ns.
        m: first free row of the output.
        settings, tuning: see edge.kernels.clean_layout.
        out_rows, out_stamps, out_marks, out_origins: rows released; written.
        starts, members: see derive.
        counts, outcomes: added to.

    Returns:
        The first free row after it.
    """
    channels = counts.shape[1]
    capacity = settings[k.WAITING_ROWS]
    slots = k.I_HEADER + channels * k.BY_CHANNEL_INTS
    pending = k.I_HEADER + channels * 4
    values = 1 + channels * (k.BY_CHANNEL_FLOATS + 2 * settings[k.SPIKE_WINDOW])
    scored = out_rows.shape[1] - 1
    while ints[lane, k.I_WAITING] > 0:
        head = ints[lane, k.I_HEAD]
        slot = slots + head * k.WAITING_COLUMNS
        stamp = ints[lane, slot + k.W_STAMP]
        missing = ints[lane, slot + k.W_MISSING]
        good = ints[lane, slot + k.W_GOOD]
        if missing != 0 and good >= 0 and stamp >= stamps_before and ints[lane, slot + k.W_RECEIVED] > received_until:
            break
        ints[lane, k.I_HEAD] = head + 1 if head + 1 < capacity else 0
        ints[lane, k.I_WAITING] -= 1
        if missing != 0:
            if good >= 0:
                for c in range(channels):
                    if missing >> c & 1:
                        ints[lane, pending + c] -= 1
            outcomes[k.R_MISSING] += 1
            score(floats, ints, lane, stamp, 0.0, tuning[k.RATE_HZ])
            continue
        filled_in = ints[lane, slot + k.W_FILLED]
        for c in range(channels):
            out_rows[m, c] = floats[lane, values + head * channels + c]
            if filled_in >> c & 1:
                counts[k.A_LINEAR, c] += 1
        out_stamps[m] = stamp
        out_marks[m] = ints[lane, slot + k.W_MARKS] | filled_in
        out_origins[m, 0] = ints[lane, slot + k.W_RECEIVED]
        out_origins[m, 1] = ints[lane, slot + k.W_SEQ]
        score(floats, ints, lane, stamp, good / channels, tuning[k.RATE_HZ])
        out_rows[m, scored] = floats[lane, k.F_QUALITY]
        derive(out_rows, out_marks, m, channels, starts, members)
        outcomes[k.R_USED] += 1
        m += 1
    return m
