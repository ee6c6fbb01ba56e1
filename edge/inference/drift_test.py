"""Whether the shares of a window differ from the reference by more than chance: for dependent values, many features, many looks."""

import math
from statistics import NormalDist

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.drift_bins import Bins

_FLOOR = 1e-4  # a share of 0 counts as so much: PSI must stay finite
_MAX_LAG_ONE = 0.9
_MAX_ROOT = 1e3  # of a quantile's cube root
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


class Weighed(msgspec.Struct, frozen=True):
    """How much a window tells; arrays are float64 (F,) but for ``shares``.

    Args:
        shares: (F, K), of the window.
        batches, n: that had values, and the values.
        effective: independent values that say as much.
    """

    shares: Floats
    batches: Floats
    n: Floats
    effective: Floats


class Needed(msgspec.Struct, frozen=True):
    """What chance alone reaches only as often as is allowed; arrays are float64 (F,).

    Args:
        psi, ks: so much.
        bias: that chance adds to PSI.
    """

    psi: Floats
    ks: Floats
    bias: Floats


def dependence(sums: Floats, seen: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """How a bin's share varies between batches, over all bins, and what neighbouring batches have in common; see ``weigh``.

    Args:
        sums, seen: see edge.kernels.drift.close_batch.
    """
    many = np.maximum(seen[:, 1:], 1).astype(np.float64)
    mean = sums[0] / many
    total = np.maximum(sums[1] / many - mean * mean, 0.0).sum(1)
    pairs = np.maximum(many - 1, 1)
    # Mean product of neighbours: each batch but the last, and each but the first, has its own mean.
    common = (sums[2] - (sums[0] - sums[3]) * (sums[0] - sums[4]) / pairs).sum(1) / pairs[:, 0]
    return total, np.divide(common, total, out=np.zeros_like(total), where=total > 0)


def spread(shares: Floats) -> Floats:
    """Variance that one value gives to its shares, over all bins: (F,) of (F, K)."""
    return np.asarray((shares * (1 - shares)).sum(1), np.float64)


def pooled(bins: Bins, shares: Floats) -> Floats:
    """Variance that one value would give to its shares, (F,), if window and reference were of one distribution: the mean of both.

    Of the window's shares alone it would be 0 where all values fell into one bin, as they do after a large change.
    """
    return spread((shares + bins.shares) / 2)


def weigh(bins: Bins, sums: Floats, seen: npt.NDArray[np.int64], restless: Floats, between: tuple[Floats, Floats]) -> Weighed:
    """How much a window tells.

    The values of a window are not independent: rolling windows overlap, and machines have moods. The variance of a bin's share
    between batches, raised by what neighbouring batches have in common, says how much they tell (Rao and Scott's first-order
    correction): ``effective`` values, never more than there are. What is slower than a window shows only between windows: they may
    not count for more than their own restlessness allows.

    Args:
        bins: of F values.
        sums, seen: see edge.kernels.drift.close_batch.
        restless: (F,), variance of a window's shares, from one window to the next, over all bins; 0: not known yet.
        between: see ``dependence``.
    """
    batches = np.maximum(seen[:, 1], 1).astype(np.float64)
    n = seen[:, 0].astype(np.float64)
    shares = sums[0] / batches[:, None]
    total, lag_one = between
    lag_one = np.clip(lag_one + (1 + 4 * np.maximum(lag_one, 0)) / batches, 0.0, _MAX_LAG_ONE)  # short series hide what they have in common
    variance = total / np.maximum(batches - 1, 1) * (1 + lag_one) / (1 - lag_one)  # of the mean share, over all bins
    within = np.divide(spread(shares), variance, out=n.copy(), where=variance > 0)
    # What is known of other windows is compared with what the null hypothesis says of a window, not with this window's own spread.
    among = np.divide(pooled(bins, shares), restless, out=n.copy(), where=restless > 0)
    return Weighed(shares, batches, n, np.minimum(np.minimum(within, among), n))


def needed(bins: Bins, weighed: Weighed, alpha: float) -> Needed:
    """What chance reaches.

    Args:
        bins: of F values.
        weighed: see ``weigh``.
        alpha: chance of a false alarm that this look may spend, over all features.
    """
    degrees = np.maximum(bins.used - 1, 1).astype(np.float64)
    weight = np.maximum(weighed.effective, 1.0)
    bias = degrees / weight
    each = alpha / (2 * max(len(weight), 1))  # two statistics
    quantiles = f_quantiles(degrees, np.maximum(weighed.batches - 1, 1.0), each)
    return Needed(bias * (quantiles - 1.0), np.sqrt(math.log(2.0 / each) / (2.0 * weight)), bias)  # Dvoretzky, Kiefer, Wolfowitz, Massart


def measure(bins: Bins, weighed: Weighed, least: Needed) -> Measured:
    """Compare a window with the reference.

    Args:
        bins: of F values.
        weighed, least: see ``weigh`` and ``needed``.
    """
    shares = weighed.shares
    floored, expected = np.maximum(shares, _FLOOR), np.maximum(bins.shares, _FLOOR)  # beyond a row's own bins both are the floor
    psi = np.maximum(((floored - expected) * np.log(floored / expected)).sum(1) - least.bias, 0.0)
    ks = np.maximum(np.abs(np.cumsum(shares - bins.shares, axis=1)).max(1) - bins.slack, 0.0)
    return Measured(shares, psi, ks, weighed.n, weighed.effective, least.psi, least.ks)


def spend(alpha_a_day: float, span_ns: int) -> float:
    """What a look may spend of a day's chance of a false alarm: as much as the part of the day that it looks at."""
    return alpha_a_day * min(max(span_ns, 1) / _DAY_NS, 1.0)


def f_quantiles(degrees: Floats, batches: Floats, alpha: float) -> Floats:
    """Upper quantiles of F by Paulson's approximation: a variance that is itself estimated from a few batches.

    With r the cube root of the quantile, ``(1 - b) r - (1 - a) = z sqrt(a + b r^2)``: squared, an equation of the second degree whose
    larger root is the upper quantile. Where the second degree's factor is not positive, no finite quantile is so unlikely.

    Args:
        degrees, batches: degrees of freedom of the two variances, >= 1.
        alpha: chance of more, 0 to 0.5.
    """
    z = _NORMAL.inv_cdf(1.0 - min(max(alpha, 1e-12), 0.5))
    a, b = 2.0 / (9.0 * degrees), 2.0 / (9.0 * batches)
    first, second, third = (1 - b) ** 2 - z * z * b, (1 - a) * (1 - b), (1 - a) ** 2 - z * z * a
    root = np.sqrt(np.maximum(second * second - first * third, 0.0))
    largest = np.divide(second + root, first, out=np.full_like(first, _MAX_ROOT), where=first > 0)
    return np.asarray(np.minimum(largest, _MAX_ROOT) ** 3, np.float64)
