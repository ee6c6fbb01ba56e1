"""Whether the shares of a window differ from the reference by more than chance: for dependent values, many features, many looks."""

import math
from statistics import NormalDist

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.drift_bins import Bins

_FLOOR = 1e-4  # a share of 0 counts as so much: PSI must stay finite
_MAX_LAG_ONE = 0.9
_DAY_NS = 86_400_000_000_000
_NORMAL = NormalDist()
Floats = npt.NDArray[np.float64]


class Measured(msgspec.Struct, frozen=True):
    """What a window showed; arrays are float64 (F,) but for ``shares``.

    Args:
        shares: (F, K), of the window.
        psi: population stability index less what chance adds to it, at least 0.
        ks: largest distance of the cumulative shares at an edge, less the reference's slack, at least 0.
        n: values.
        effective: independent values that say as much.
        psi_needed, ks_needed: what chance alone reaches only as often as is allowed.
    """

    shares: Floats
    psi: Floats
    ks: Floats
    n: Floats
    effective: Floats
    psi_needed: Floats
    ks_needed: Floats


def measure(bins: Bins, sums: Floats, seen: npt.NDArray[np.int64], alpha: float, restless: Floats) -> Measured:
    """Compare a window with the reference.

    The values of a window are not independent: rolling windows overlap, and machines have moods. The variance of a bin's share
    between batches, raised by what neighbouring batches have in common, says how much they tell (Rao and Scott's first-order
    correction): ``effective`` values, never more than there are. What is slower than a window shows only between windows: they may
    not count for more than their own restlessness allows.

    Args:
        bins: of F values.
        sums, seen: see edge.kernels.drift.close_batch.
        alpha: chance of a false alarm that this look may spend, over all features.
        restless: (F,), variance of a window's shares, from one window to the next, over all bins; 0: not known yet.
    """
    batches = np.maximum(seen[:, 1], 1).astype(np.float64)
    n = seen[:, 0].astype(np.float64)
    shares = sums[0] / batches[:, None]
    effective = _effective(sums, shares, batches, n, restless)
    floored, expected = np.maximum(shares, _FLOOR), np.maximum(bins.shares, _FLOOR)
    mask = np.arange(shares.shape[1]) < bins.used[:, None]
    raw = np.where(mask, (floored - expected) * np.log(floored / expected), 0.0).sum(1)
    degrees = np.maximum(bins.used - 1, 1).astype(np.float64)
    bias = degrees / np.maximum(effective, 1.0)
    distance = np.abs(np.cumsum(shares - bins.shares, axis=1))
    ks = np.where(mask, distance, 0.0).max(1) - bins.slack
    each = alpha / (2 * max(len(n), 1))  # two statistics
    worst = {(k, b): _f_quantile(k, max(b - 1, 1.0), each) for k, b in set(zip(degrees.tolist(), batches.tolist(), strict=True))}
    quantile = np.array([worst[k, b] for k, b in zip(degrees.tolist(), batches.tolist(), strict=True)])
    return Measured(
        shares,
        np.maximum(raw - bias, 0.0),
        np.maximum(ks, 0.0),
        n,
        effective,
        bias * (quantile - 1.0),
        np.sqrt(math.log(2.0 / each) / (2.0 * np.maximum(effective, 1.0))),  # Dvoretzky, Kiefer, Wolfowitz, Massart
    )


def spend(alpha_a_day: float, span_ns: int) -> float:
    """What a look may spend of a day's chance of a false alarm: as much as the part of the day that it looks at."""
    return alpha_a_day * min(max(span_ns, 1) / _DAY_NS, 1.0)


def _effective(sums: Floats, shares: Floats, batches: Floats, n: Floats, restless: Floats) -> Floats:
    many = batches[:, None]
    spread = np.maximum(sums[1] / many - shares * shares, 0.0)  # of the shares of batches
    pairs = np.maximum(many - 1, 1)
    # Mean product of neighbours: each batch but the last, and each but the first, has its own mean.
    before, after = (sums[0] - sums[3]) / pairs, (sums[0] - sums[4]) / pairs
    common = sums[2] / pairs - before * after
    total = spread.sum(1)
    lag_one = np.divide(common.sum(1), total, out=np.zeros_like(total), where=total > 0)
    lag_one = np.clip(lag_one + (1 + 4 * np.maximum(lag_one, 0)) / batches, 0.0, _MAX_LAG_ONE)  # short series hide what they have in common
    variance = total / np.maximum(batches - 1, 1) * (1 + lag_one) / (1 - lag_one)  # of the mean share, over all bins
    variance = np.maximum(variance, restless)
    ideal = (shares * (1 - shares)).sum(1)
    effective = np.divide(ideal, variance, out=n.copy(), where=variance > 0)
    return np.asarray(np.minimum(effective, n), np.float64)


def _f_quantile(degrees: float, batches: float, alpha: float) -> float:
    """Upper quantile of F by Paulson's approximation: a variance that is itself estimated from a few batches."""
    z = _NORMAL.inv_cdf(1.0 - min(max(alpha, 1e-12), 0.5))
    a, b = 2.0 / (9.0 * degrees), 2.0 / (9.0 * batches)
    low, high = 0.0, 1e3
    for _ in range(60):
        root = (low + high) / 2
        at = ((1 - b) * root - (1 - a)) / math.sqrt(a + b * root * root)
        low, high = (root, high) if at < z else (low, root)
    return float(low**3)
