"""What is read off a window when a vector is due: samples at its ends, and statistics that walk over all of it, spectra among them.

Costs O(W), for spectra O(W log W), a vector instead of a sample: these statistics depend on the whole window at once (its own mean, its
own range, its own order in time), and nothing smaller than the window carries over from one vector to the next. For spectra a sliding
Goertzel filter would carry over, but pays for every bin at every sample; see benchmarks/README.md.
"""

from typing import Any

import numpy as np

from edge.kernels.jit import part
from edge.kernels.layout import (
    E_FEATURE,
    E_I,
    E_J,
    E_NUMBER,
    E_OPERATION,
    OP_AUTOCORR,
    OP_BAND,
    OP_CENTROID,
    OP_COUNT,
    OP_DERIVATIVE,
    OP_DOMINANT,
    OP_FIRST,
    OP_LAG,
    OP_LAST,
    OP_MAGNITUDE,
    OP_MEAN_CROSSINGS,
    OP_OWN_SHARE,
    OP_RATE,
    OP_SHARE,
)
from edge.kernels.memory import call_window_function
from edge.kernels.steps import bin_of, share_or_entropy

_SECONDS = 1e-9


@part
def point(
    f32: Any, i64: Any, x: int, ring: int, capacity: int, stamps: int, mask: int, head: int, i: int, operation: int, p: int, q: int,
    lists: Any,
) -> Any:  # fmt: skip
    """One statistic that needs a few samples of the window from row ``head`` to row ``i``."""
    value = np.float64(f32[x + (i & mask)])
    if operation == OP_LAST:
        return value
    if operation == OP_FIRST:
        return float(f32[x + (head & mask)])
    if operation == OP_LAG:
        return float(f32[x + (max(i - p, head) & mask)])
    if operation == OP_COUNT:
        return np.float64(i + 1 - head)
    if operation == OP_RATE:
        return (i - head) / ((i64[stamps + (i & mask)] - i64[stamps + (head & mask)]) * _SECONDS) if i > head else 0.0
    if operation == OP_DERIVATIVE:
        if i == head:
            return 0.0
        dt = (i64[stamps + (i & mask)] - i64[stamps + ((i - 1) & mask)]) * _SECONDS
        return (value - np.float64(f32[x + ((i - 1) & mask)])) / dt
    if operation == OP_MAGNITUDE:
        total = value * value
        for k in range(p, q):
            other = np.float64(f32[ring + lists[k] * capacity + (i & mask)])
            total += other * other
        return np.sqrt(total)
    return 0.0  # age: known only when the vector is put together


@part
def copy_window(f32: Any, x: int, mask: int, head: int, i: int, out: Any) -> int:
    """The window's samples in order, as float64; returns how many."""
    for j in range(head, i + 1):
        out[j - head] = f32[x + (j & mask)]
    return i + 1 - head


@part
def scan(w: Any, n: int, entries: Any, e0: int, e1: int, counts: Any, values: Any, width: int, k: int) -> None:
    """Statistics of the window w[:n] against its own mean or range."""
    mean = 0.0
    low = w[0]
    high = w[0]
    for j in range(n):
        mean += w[j] - w[0]
        low = min(low, w[j])
        high = max(high, w[j])
    mean = w[0] + mean / n
    for e in range(e0, e1):
        operation = entries[e, E_OPERATION]
        result = 0.0
        if operation == OP_MEAN_CROSSINGS:
            for j in range(1, n):
                if (w[j - 1] < mean) != (w[j] < mean):
                    result += 1.0
        elif operation == OP_AUTOCORR:
            lag = entries[e, E_I]
            square = 0.0
            for j in range(n):
                square += (w[j] - mean) * (w[j] - mean)
            for j in range(lag, n):
                result += (w[j] - mean) * (w[j - lag] - mean)
            result = result / square if square > 0.0 else 0.0
        else:
            bins = entries[e, E_J]
            for b in range(bins):
                counts[b] = 0
            scale = bins / (high - low) if high > low else 0.0
            for j in range(n):
                counts[bin_of(w[j], low, scale, bins)] += 1
            result = share_or_entropy(counts, 0, bins, n, OP_SHARE if operation == OP_OWN_SHARE else OP_SHARE + 1, entries[e, E_I])
        values[k * width + entries[e, E_FEATURE]] = result


@part
def apply_function(
    f32: Any, i64: Any, x: int, stamps: int, mask: int, head: int, i: int, view: Any, times: Any, view_at: int, times_at: int, function: int
) -> Any:
    """A user's function over contiguous copies of the window's samples and stamps."""
    for j in range(head, i + 1):
        view[j - head] = f32[x + (j & mask)]
        times[j - head] = i64[stamps + (j & mask)]
    return call_window_function(function, view_at, times_at, i + 1 - head)


@part
def spectrum(w: Any, n: int, size: int, twiddles: Any, table: int) -> float:
    """Power spectrum of w[:n], mean removed, Hann window, zero-padded to ``size``, a power of two; into w[: size // 2 + 1].

    Args:
        w: float64 (2 * size,): the samples; overwritten.
        n: samples, at most size.
        size: of the transform.
        twiddles: cos and sin of 2 pi k / table for k < table / 2, one after the other.
        table: at least size.

    Returns:
        What a bin must be multiplied with for the mean square within it, as scipy.signal.periodogram's density times its bin width.
    """
    mean = 0.0
    for j in range(n):
        mean += w[j] - w[0]
    mean = w[0] + mean / n
    turn_re = np.cos(2.0 * np.pi / n)
    turn_im = np.sin(2.0 * np.pi / n)
    c = 1.0
    s = 0.0
    weight = 0.0
    for j in range(n):
        hann = 0.5 - 0.5 * c
        weight += hann * hann
        w[j] = (w[j] - mean) * hann
        c, s = c * turn_re - s * turn_im, c * turn_im + s * turn_re
    for j in range(n, 2 * size):
        w[j] = 0.0
    _transform(w, size, twiddles, table)
    half = size >> 1
    for k in range(half + 1):
        power = w[k] * w[k] + w[size + k] * w[size + k]
        w[k] = power if k == 0 or k == half else 2.0 * power
    return 1.0 / (weight * size) if weight > 0.0 else 0.0


@part
def _transform(w: Any, size: int, twiddles: Any, table: int) -> None:
    """Radix-2 Fourier transform in place: real parts in w[:size], imaginary ones in w[size : 2 * size]."""
    j = 0
    for i in range(1, size):
        bit = size >> 1
        while j & bit:
            j ^= bit
            bit >>= 1
        j ^= bit
        if i < j:
            w[i], w[j] = w[j], w[i]
            w[size + i], w[size + j] = w[size + j], w[size + i]
    length = 2
    while length <= size:
        half = length >> 1
        step = table // length
        for start in range(0, size, length):
            for k in range(half):
                cos = twiddles[k * step]
                sin = -twiddles[(table >> 1) + k * step]
                a = start + k
                b = a + half
                re = w[b] * cos - w[size + b] * sin
                im = w[b] * sin + w[size + b] * cos
                w[b] = w[a] - re
                w[size + b] = w[size + a] - im
                w[a] += re
                w[size + a] += im
        length <<= 1


@part
def read_spectrum(
    w: Any, size: int, unit: float, rate: float, entries: Any, e0: int, e1: int, numbers: Any, values: Any, width: int, k: int
) -> None:
    """Statistics of a power spectrum w[: size // 2 + 1]. The constant part is not part of it."""
    half = size >> 1
    step = rate / size
    total = 0.0
    moment = 0.0
    peak = 1
    for b in range(1, half + 1):
        total += w[b]
        moment += w[b] * b
        peak = b if w[b] > w[peak] else peak
    for e in range(e0, e1):
        operation = entries[e, E_OPERATION]
        result = 0.0
        if operation == OP_BAND:
            low = numbers[entries[e, E_NUMBER]]
            high = numbers[entries[e, E_NUMBER] + 1]
            for b in range(1, half + 1):
                if low <= b * step <= high:
                    result += w[b]
            result *= unit
        elif total > 0.0:
            if operation == OP_DOMINANT:
                result = peak * step
            elif operation == OP_CENTROID:
                result = moment / total * step
            else:
                for b in range(1, half + 1):
                    if w[b] > 0.0:
                        p = w[b] / total
                        result -= p * np.log(p)
                result /= np.log(np.float64(max(half, 2)))
        values[k * width + entries[e, E_FEATURE]] = result
