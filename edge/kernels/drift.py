"""Counting values into the bins of their reference, and what batches of such counts add up to. Judges nothing."""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel


@kernel("void(float32[:, ::1], float32[:, ::1], int32[:, ::1], int64[:, ::1])")
def count_values(
    frames: npt.NDArray[np.float32], edges: npt.NDArray[np.float32], counts: npt.NDArray[np.int32], odd: npt.NDArray[np.int64]
) -> None:
    """Count the values of some frames into their bins; the bin is the number of edges that are not above the value.

    Args:
        frames: float32 (n, F).
        edges: float32 (F, K - 1), rising; NaN where a row has fewer bins, which is not above nor below anything.
        counts: int32 (F, K), added to.
        odd: int64 (F, 2), added to: NaN, infinite; they are in no bin.
    """
    for i in range(frames.shape[0]):
        for f in range(frames.shape[1]):
            value = frames[i, f]
            if np.isfinite(value):
                at = np.int32(0)
                for e in range(edges.shape[1]):
                    at += np.int32(value >= edges[f, e])
                counts[f, at] += 1
            elif np.isnan(value):
                odd[f, 0] += 1
            else:
                odd[f, 1] += 1


@kernel("void(int32[:, ::1], float64[:, :, ::1], int64[:, ::1])")
def close_batch(counts: npt.NDArray[np.int32], sums: npt.NDArray[np.float64], seen: npt.NDArray[np.int64]) -> None:
    """Add a batch's shares to the sums of its window, and begin the next one.

    Args:
        counts: int32 (F, K), set to 0.
        sums: float64 (5, F, K), added to: shares, their squares, products with the batch before; then, written: shares of the batch
            before, of the first one.
        seen: int64 (F, 2), added to: values, batches that had any.
    """
    for f in range(counts.shape[0]):
        n = 0
        for b in range(counts.shape[1]):
            n += counts[f, b]
        if n == 0:
            continue
        for b in range(counts.shape[1]):
            share = counts[f, b] / n
            sums[0, f, b] += share
            sums[1, f, b] += share * share
            if seen[f, 1]:
                sums[2, f, b] += share * sums[3, f, b]
            else:
                sums[4, f, b] = share
            sums[3, f, b] = share
            counts[f, b] = 0
        seen[f, 0] += n
        seen[f, 1] += 1
