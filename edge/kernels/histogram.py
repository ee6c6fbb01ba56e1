"""Log-linear histograms of durations: 16 steps an octave, so any quantile is within 6.25 %, in 960 counters."""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel

STEPS = 16  # linear steps an octave
BUCKETS = STEPS * 60  # up to 2^63 ns


@kernel("void(int64[:, ::1], int64, int64[:, ::1], int64[::1])")
def fold_durations(
    marks: npt.NDArray[np.int64],
    n: int,
    counts: npt.NDArray[np.int64],
    longest: npt.NDArray[np.int64],
) -> None:
    """Add the spans between consecutive marks, and from the first to the last, to one histogram each.

    Args:
        marks: int64 (capacity, S + 1), ns, the moments at which the S stages of a frame began and the last one ended. A zero
            says that the stage before it was not reached.
        n: rows to read.
        counts: int64 (S + 1, BUCKETS), added to; the last row is the whole span.
        longest: int64 (S + 1,), ns, raised.
    """
    stages = marks.shape[1] - 1
    for i in range(n):
        last = 0
        for s in range(stages):
            if marks[i, s + 1] == 0:
                break
            last = s + 1
        spans = last + 1 if last == stages else last  # a frame that ended early has no whole span
        for s in range(spans):
            span = max(marks[i, last] - marks[i, 0] if s == stages else marks[i, s + 1] - marks[i, s], 0)
            rest = span
            octave = 0
            while rest >= 2 * STEPS:
                rest >>= 1
                octave += 1
            counts[s, octave * STEPS + rest] += 1
            longest[s] = max(longest[s], span)


def bucket_value(index: int) -> int:
    """Largest duration, in ns, that falls into a bucket."""
    if index < 2 * STEPS:
        return index
    octave, step = divmod(index, STEPS)
    return ((STEPS + step + 1) << (octave - 1)) - 1
