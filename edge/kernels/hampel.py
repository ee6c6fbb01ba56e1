"""Causal Hampel filter: is the newest of the last w values far from their median?

The window is kept twice, in order of arrival and sorted, so that a value costs two moves in the sorted half and no sort.
Source: F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974); 1.4826 makes the median absolute
deviation of a normal distribution its standard deviation.
"""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel

MAD_TO_SIGMA = 1.4826


@kernel("float64(float64[:, ::1], int64[:, ::1], int64, int64, int64, int64, int64, int64, float64, float64, float64)")
def spike_median(
    floats: npt.NDArray[np.float64],
    ints: npt.NDArray[np.int64],
    lane: int,
    ring: int,
    ordered: int,
    filled: int,
    oldest: int,
    width: int,
    value: float,
    sigmas: float,
    floor: float,
) -> float:
    """Take a value into the window and judge it.

    Args:
        floats, ints: state of all lanes; changed.
        lane: whose.
        ring, ordered: first of ``width`` columns of ``floats``: by arrival, and sorted.
        filled, oldest: columns of ``ints``: how many values there are, and where the oldest is.
        width: values in a full window, at least 3.
        value: finite.
        sigmas: how many standard deviations are too far.
        floor: least standard deviation; 0: where more than half of the window is equal, nothing is a spike.

    Returns:
        The median when the value is a spike, otherwise NaN. A window that is not full judges nothing.
    """
    n = ints[lane, filled]
    at = ints[lane, oldest]
    if n < width:
        j = ordered + n
        ints[lane, filled] = n + 1
    else:
        gone = floats[lane, ring + at]
        j = ordered
        high = ordered + width - 1
        while j < high:  # the first that is not less
            half = (j + high) // 2
            if floats[lane, half] < gone:
                j = half + 1
            else:
                high = half
        last = ordered + width - 1
        while j < last and floats[lane, j + 1] < value:
            floats[lane, j] = floats[lane, j + 1]
            j += 1
    while j > ordered and floats[lane, j - 1] > value:
        floats[lane, j] = floats[lane, j - 1]
        j -= 1
    floats[lane, j] = value
    floats[lane, ring + at] = value
    ints[lane, oldest] = at + 1 if at + 1 < width else 0
    if n + 1 < width:
        return np.nan
    half = width // 2
    middle = ordered + half
    is_odd = width % 2 == 1
    median: float = floats[lane, middle] if is_odd else 0.5 * (floats[lane, middle - 1] + floats[lane, middle])
    away = abs(value - median)
    if away <= sigmas * floor:
        return np.nan
    # The deviations in rising order, by walking outwards from the median; the one at half the width is their median. Most values are
    # acquitted after a few: none of the deviations still to come is smaller.
    left = middle - 1
    right = middle
    before = deviation = 0.0
    for i in range(half + 1):
        before = deviation
        to_left = median - floats[lane, left] if left >= ordered else np.inf
        to_right = floats[lane, right] - median if right < ordered + width else np.inf
        if to_left < to_right:
            deviation = to_left
            left -= 1
        else:
            deviation = to_right
            right += 1
        if i < half and away <= sigmas * (MAD_TO_SIGMA * deviation):
            return np.nan
    mad = deviation if is_odd else 0.5 * (before + deviation)
    sigma = max(MAD_TO_SIGMA * mad, floor)
    if sigma > 0.0 and away > sigmas * sigma:
        return median
    return np.nan
