"""Log-linear histograms of durations: 16 steps an octave, so any quantile is within 6.25 %, in 960 counters."""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel

STEPS = 16  # linear steps an octave
BUCKETS = STEPS * 60  # up to 2^63 ns


@kernel("void(int64, int64, int64[:, ::1], int64[::1])")
def _count(span: int, stage: int, counts: npt.NDArray[np.int64], longest: npt.NDArray[np.int64]) -> None:
    rest = max(span, 0)
    octave = 0
    while rest >= 2 * STEPS:
        rest >>= 1
        octave += 1
    counts[stage, octave * STEPS + rest] += 1
    longest[stage] = max(longest[stage], span)


@kernel("void(int64[:, ::1], int64, int64[:, ::1], int64[::1])")
def fold_durations(rows: npt.NDArray[np.int64], n: int, counts: npt.NDArray[np.int64], longest: npt.NDArray[np.int64]) -> None:
    """Add the durations of n messages to the histograms of their stages.

    Args:
        rows: int64 (capacity, S + 3), ns: S durations (0: stage not reached), then three moments: end of the last stage (0: no
            decision was made), receipt, hand-over to the socket. A hand-over holds for all rows before it that have none.
        n: rows to read.
        counts: int64 (S + 2, BUCKETS), added to: the stages, end to hand-over, receipt to hand-over.
        longest: int64 (S + 2,), ns, raised.
    """
    stages = rows.shape[1] - 3
    handed = 0
    for i in range(n - 1, -1, -1):
        if rows[i, stages + 2]:
            handed = rows[i, stages + 2]
        for s in range(stages):
            if rows[i, s]:
                _count(rows[i, s], s, counts, longest)
        ended = rows[i, stages]
        if ended:
            at = max(handed, ended)
            _count(at - ended, stages, counts, longest)
            _count(at - rows[i, stages + 1], stages + 1, counts, longest)


@kernel("int64(int64)")
def bucket_value(index: int) -> int:
    """Largest duration, in ns, that falls into a bucket."""
    if index < 2 * STEPS:
        return index
    return ((STEPS + index % STEPS + 1) << (index // STEPS - 1)) - 1


@kernel("void(int64[:, ::1], int64[::1], int64[:, ::1])")
def read_quantiles(counts: npt.NDArray[np.int64], longest: npt.NDArray[np.int64], out: npt.NDArray[np.int64]) -> None:
    """Number, median and 99th percentile of every stage.

    Args:
        counts: int64 (S, BUCKETS).
        longest: int64 (S,), ns.
        out: int64 (S, 3), written: durations counted, then ns, at most the longest.
    """
    for s in range(counts.shape[0]):
        total = 0
        for b in range(counts.shape[1]):
            total += counts[s, b]
        out[s, 0] = total
        below = 0
        q = 1
        for b in range(counts.shape[1]):
            below += counts[s, b]
            while q < 3 and total and below >= total * (0.5 if q == 1 else 0.99):
                out[s, q] = min(bucket_value(b), longest[s])
                q += 1
