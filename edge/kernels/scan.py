"""What is read off a window when a vector is due: samples at its ends, and statistics that walk over all of it, spectra among them.

Costs O(W), for spectra O(W log W), a vector instead of a sample: these statistics depend on the whole window at once (its own mean, its
own range, its own order in time), and nothing smaller than the window carries over from one vector to the next.

Spectra come from an FFT. A sliding filter (Goertzel, sliding DFT) carries over from sample to sample and is cheaper when vectors are due
more often than about every quarter of a window (measured: benchmarks/features/spectra.py), but it needs a window of fixed length,
drifts, and cannot start anew after a gap without the window being read in any case.
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

    Real samples go through a transform of half the size, two by two as real and imaginary parts.

    Args:
        w: float64 (2 * size + 1,): the samples; overwritten.
        n: samples, at most size.
        size: of the transform, at least 2.
        twiddles: float64 (2 * table,): cos, then sin, of 2 pi k / length for k < length / 2, at length / 2 - 1 for each length.
        table: entries of each.

    Returns:
        What a bin must be multiplied with for the mean square within it, as scipy.signal.periodogram's density times its bin width.
    """
    half = size >> 1
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
    for j in range(n, size):
        w[j] = 0.0
    re = size
    im = size + half
    for j in range(half):
        w[re + j] = w[2 * j]
        w[im + j] = w[2 * j + 1]
    _transform(w, re, im, half, twiddles, table)
    first = w[re] + w[im]
    last = w[re] - w[im]
    for j in range(1, half):
        # The spectra of the even and of the odd samples, taken apart; the latter turned by its half step.
        even_re = 0.5 * (w[re + j] + w[re + half - j])
        even_im = 0.5 * (w[im + j] - w[im + half - j])
        odd_re = 0.5 * (w[im + j] + w[im + half - j])
        odd_im = 0.5 * (w[re + half - j] - w[re + j])
        cos = twiddles[half - 1 + j]
        sin = -twiddles[table + half - 1 + j]
        real = even_re + odd_re * cos - odd_im * sin
        imaginary = even_im + odd_re * sin + odd_im * cos
        w[j] = 2.0 * (real * real + imaginary * imaginary)
    w[0] = first * first
    w[half] = last * last
    return 1.0 / (weight * size) if weight > 0.0 else 0.0


@part
def _transform(w: Any, re: int, im: int, size: int, twiddles: Any, table: int) -> None:
    """Radix-2 Fourier transform in place: real parts in w[re : re + size], imaginary ones in w[im : im + size]."""
    j = 0
    for i in range(1, size):
        bit = size >> 1
        while j & bit:
            j ^= bit
            bit >>= 1
        j ^= bit
        if i < j:
            w[re + i], w[re + j] = w[re + j], w[re + i]
            w[im + i], w[im + j] = w[im + j], w[im + i]
    length = 2
    while length <= size:
        half = length >> 1
        for start in range(0, size, length):
            for k in range(half):
                cos = twiddles[half - 1 + k]
                sin = -twiddles[table + half - 1 + k]
                a = start + k
                b = a + half
                real = w[re + b] * cos - w[im + b] * sin
                imaginary = w[re + b] * sin + w[im + b] * cos
                w[re + b] = w[re + a] - real
                w[im + b] = w[im + a] - imaginary
                w[re + a] += real
                w[im + a] += imaginary
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
