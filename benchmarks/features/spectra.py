"""Which way to a spectrum: an FFT of the window when a vector is due, or a sliding Goertzel filter that moves every bin at every sample.

usage: python benchmarks/features/spectra.py
The filter here is the plain one: it has no window function and drifts, so it is a lower bound of what a usable one costs.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import run as features
from numba import njit

WINDOW = 256
ROUNDS = 7
HOPS = (1, 5, 20, 100)
BANDS = {"a band of 26 bins": 26, "the whole spectrum, 128 bins": 128}


@njit("void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1])", error_model="numpy", fastmath=True)
def slide(x: Any, re: Any, im: Any, cos: Any, sin: Any) -> None:
    """Sliding DFT: every bin turned once a sample, the newest sample added, the oldest taken off."""
    for i in range(WINDOW, len(x)):
        step = x[i] - x[i - WINDOW]
        for b in range(len(re)):
            r = re[b] + step
            re[b] = r * cos[b] - im[b] * sin[b]
            im[b] = r * sin[b] + im[b] * cos[b]


def sliding(bins: int) -> Callable[[], float]:
    x = np.random.default_rng(1).normal(size=20_000)
    re, im = np.zeros(bins), np.zeros(bins)
    angles = 2 * np.pi * np.arange(1, bins + 1) / WINDOW
    cos, sin = np.cos(angles), np.sin(angles)

    def measure() -> float:
        started = time.perf_counter_ns()
        slide(x, re, im, cos, sin)
        return (time.perf_counter_ns() - started) / len(x)

    measure()
    return measure


def main() -> None:
    measures = {f"sliding filter, {title}": sliding(bins) for title, bins in BANDS.items()}
    for hop in HOPS:
        stats = ("band_energy(20-40)", "dominant_frequency")
        measures[f"FFT, vector every {hop}"] = features.streaming(stats, window=WINDOW, hop=hop, blocks=100)
    found = features.repeat(measures, ROUNDS)
    print("| window 256, ns a sample and channel | median (lowest to highest) |\n|---|---:|")
    for name, values in found.items():
        print(f"| {name} | {features.spread(values)} |")
    whole = statistics.median(found["sliding filter, the whole spectrum, 128 bins"])
    print(f"\nAn FFT every 20 samples costs {statistics.median(found['FFT, vector every 20']) / whole:.2f} times the filter of all bins.")


if __name__ == "__main__":
    main()
