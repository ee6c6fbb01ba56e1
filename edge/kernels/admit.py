"""Row by row admission of a block: finite, in range, in time order. Compacts in place."""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel

# Columns of the counts that admit_rows adds to.
NOT_FINITE, OUT_OF_RANGE, LATE = 0, 1, 2


@kernel("int64(float32[:, ::1], int64[::1], int64, int64, float32[::1], float32[::1], int64[::1])")
def admit_rows(
    rows: npt.NDArray[np.float32],
    stamps: npt.NDArray[np.int64],
    n: int,
    last_stamp: int,
    low: npt.NDArray[np.float32],
    high: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int64],
) -> int:
    """Keep the rows that are finite, within bounds and newer than everything before them.

    Args:
        rows: float32 (max_rows, C); the first n are read, the kept ones are moved to the front.
        stamps: int64 (max_rows,), ns; moved alike.
        n: rows to read.
        last_stamp: stamp of the last row admitted before this block.
        low, high: float32 (C,), inclusive bounds; infinite where there is none.
        counts: int64 (3,), added to: not finite, out of range, late.

    Returns:
        How many rows were kept.
    """
    kept = 0
    channels = rows.shape[1]
    for i in range(n):
        verdict = -1
        if stamps[i] <= last_stamp:
            verdict = LATE
        else:
            for c in range(channels):
                x = rows[i, c]
                if not np.isfinite(x):
                    verdict = NOT_FINITE
                    break
                if x < low[c] or x > high[c]:
                    verdict = OUT_OF_RANGE
        if verdict >= 0:
            counts[verdict] += 1
            continue
        last_stamp = stamps[i]
        if kept != i:
            stamps[kept] = stamps[i]
            for c in range(channels):
                rows[kept, c] = rows[i, c]
        kept += 1
    return kept
