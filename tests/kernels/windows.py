"""Windows by definition: every statistic computed from scratch, in float64, with NumPy and SciPy only."""

import math
import re

import numpy as np
from scipy import signal, stats

from edge.features.plan import FeaturePlan, Group, Span, StreamShape
from edge.features.rolling import RollingFeatures
from edge.messages import Block

MS = 1_000_000
ONE = Span(1, by_time=False)
# One of everything. "b" is the other channel.
EVERY = (
    "mean", "var", "std", "rms", "skew", "kurtosis", "min", "max", "p2p", "crest", "argmin", "argmax", "median", "quantile(0.9)",
    "quantile(0)", "quantile(1)", "quantile(0.13)", "iqr", "mad", "zero_crossings", "mean_crossings", "slope", "integral", "derivative",
    "jerk", "ewma", "ewvar", "lag(1)", "autocorr(1)", "cov(b)", "corr(b)", "magnitude(b)", "band_energy(20-200)", "dominant_frequency",
    "spectral_centroid", "spectral_entropy", "histogram(-1,1,4)", "histogram(3)", "entropy(-1,1,4)", "entropy(3)", "time_since(>1)",
    "time_since(<=-0.5)", "rate", "missing_ratio", "first", "last", "count", "age",
)  # fmt: skip
FOREVER = ("ewma", "ewvar", "time_since")  # remember what has left the window
# Parameters that a window of one row cannot have.
LAGGED = ("lag(1)", "autocorr(1)")


def plan_for(window, hop=ONE, stat_names=EVERY, channels=("a",), rate_hz=1000.0, max_gap_ns=0, max_rows=64, on_gap="reset"):
    """A plan over channels of one stream "s", which also has "b"."""
    columns = dict.fromkeys(dict.fromkeys((*channels, "b")), "1")
    if not window.by_time and window.value == 1:
        stat_names = [name for name in stat_names if name not in LAGGED]
    shape = StreamShape("s", columns, rate_hz, max_rows, max_gap_ns, on_gap == "reset")
    return FeaturePlan([shape], [Group("s", tuple(channels), window, hop, tuple(stat_names))])


def push_all(plan, stamps, rows, cuts=(), marks=None, engine=None, lane=0):
    """Stamps and vectors of a whole recording, pushed in blocks that end at ``cuts`` (and at the plan's max_rows)."""
    engine = engine or RollingFeatures(plan, lane + 1)
    most = plan.streams[0].max_rows
    block = Block(rows.shape[1], most)
    out_stamps, out = [np.empty(0, np.int64)], [np.empty((0, len(plan.names)), np.float32)]
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        for at in range(start, stop, most):
            block.n = min(most, stop - at)
            block.rows[: block.n], block.stamps[: block.n] = rows[at : at + block.n], stamps[at : at + block.n]
            block.marks[: block.n] = 0 if marks is None else marks[at : at + block.n]
            emitted = engine.update(0, lane, block)
            out.append(engine.vectors[:emitted].copy())
            out_stamps.append(block.stamps[engine.vector_rows[:emitted]])
    return np.concatenate(out_stamps), np.concatenate(out)


class Oracle:
    """Statistics of channel a of one recording, with b beside it.

    Args:
        stamps, a, b: int64 ns, float64, float64.
        window: a Span.
        marks: which values of a were filled in.
        rate_hz: nominal.
    """

    def __init__(self, stamps, a, b, window, marks=None, rate_hz=1000.0):
        self.t, self.a, self.b, self.window, self.rate_hz = stamps, a, b, window, rate_hz
        self.marks = np.zeros(len(a), bool) if marks is None else marks
        self.smooth = [(a[0], 0.0)] if len(a) else []
        for i in range(1, len(a)):
            weight = 1 - math.exp(-(stamps[i] - stamps[i - 1]) / window.value) if window.by_time else 2 / (window.value + 1)
            mean, var = self.smooth[-1]
            step = a[i] - mean
            self.smooth.append((mean + weight * step, (1 - weight) * (var + weight * step * step)))

    def begin(self, i):
        if self.window.by_time:
            return int(np.searchsorted(self.t, self.t[i] - self.window.value, "right"))
        return max(0, i + 1 - self.window.value)

    def emitted(self, hop):
        """Rows at which a vector is due."""
        rows, first = [], 0
        for i in range(len(self.t)):
            if self.window.by_time:
                if self.begin(i) == i:
                    first = i
                full = self.t[i] - self.t[first] >= self.window.value
            else:
                full = i + 1 >= self.window.value
            hops = (i > 0 and self.t[i] // hop.value != self.t[i - 1] // hop.value) if hop.by_time else (i + 1) % hop.value == 0
            if full and hops:
                rows.append(i)
        return rows

    def value(self, name, i):
        """A statistic, by its text, over the window that ends with row i."""
        base, arguments, which = re.fullmatch(r"(\w+)(?:\((.*)\))?(?:\[(\d+)\])?", name).groups()
        begin = self.begin(i)
        w, t = self.a[begin : i + 1], self.t[begin : i + 1]
        return getattr(self, f"_{base}")(w, (t - t[0]) * 1e-9, i, *([arguments] if arguments else []), *([int(which)] if which else []))

    def _mean(self, w, s, i):
        return math.fsum(w) / len(w)

    def _var(self, w, s, i):
        return np.var(w)

    def _std(self, w, s, i):
        return np.std(w)

    def _rms(self, w, s, i):
        return math.sqrt(math.fsum(w * w) / len(w))

    def _skew(self, w, s, i):
        return stats.skew(w) if np.ptp(w) > 0 else 0.0

    def _kurtosis(self, w, s, i):
        return stats.kurtosis(w) if np.ptp(w) > 0 else 0.0

    def _min(self, w, s, i):
        return w.min()

    def _max(self, w, s, i):
        return w.max()

    def _p2p(self, w, s, i):
        return np.ptp(w)

    def _crest(self, w, s, i):
        rms = self._rms(w, s, i)
        return np.abs(w).max() / rms if rms else 0.0

    def _argmin(self, w, s, i):
        return s[-1] - s[np.flatnonzero(w == w.min())[-1]]

    def _argmax(self, w, s, i):
        return s[-1] - s[np.flatnonzero(w == w.max())[-1]]

    def _median(self, w, s, i):
        return np.median(w)

    def _quantile(self, w, s, i, q):
        return np.quantile(w, float(q))

    def _iqr(self, w, s, i):
        return stats.iqr(w)

    def _mad(self, w, s, i):
        return stats.median_abs_deviation(w)

    def _zero_crossings(self, w, s, i):
        return np.count_nonzero((w[1:] < 0) != (w[:-1] < 0))

    def _mean_crossings(self, w, s, i):
        return np.count_nonzero((w[1:] < w.mean()) != (w[:-1] < w.mean()))

    def _slope(self, w, s, i):
        return stats.linregress(s - s.mean(), w - w.mean()).slope if len(w) > 1 else 0.0

    def _integral(self, w, s, i):
        return np.trapezoid(w, s)

    def _derivative(self, w, s, i):
        return (np.diff(w) / np.diff(s))[-1] if len(w) > 1 else 0.0

    def _jerk(self, w, s, i):
        return np.sqrt(np.mean((np.diff(w) / np.diff(s)) ** 2)) if len(w) > 1 else 0.0

    def _ewma(self, w, s, i):
        return self.smooth[i][0]

    def _ewvar(self, w, s, i):
        return self.smooth[i][1]

    def _lag(self, w, s, i, k):
        return w[max(len(w) - 1 - int(k), 0)]

    def _autocorr(self, w, s, i, k):
        d, k = w - w.mean(), int(k)
        return (d[k:] * d[: len(d) - k]).sum() / (d * d).sum() if len(w) > k and np.ptp(w) > 0 else 0.0

    def _other(self, w, i):
        return self.b[i + 1 - len(w) : i + 1]

    def _cov(self, w, s, i, _):
        return np.cov(w, self._other(w, i), bias=True)[0, 1] if len(w) > 1 else 0.0

    def _corr(self, w, s, i, _):
        other = self._other(w, i)
        return np.corrcoef(w, other)[0, 1] if len(w) > 1 and np.ptp(w) > 0 and np.ptp(other) > 0 else 0.0

    def _magnitude(self, w, s, i, _):
        return np.hypot(w[-1], self.b[i])

    def _spectrum(self, w, s):
        size = 2
        while size < len(w):
            size *= 2
        if len(w) < 2 or np.ptp(w) == 0:
            return np.ones(1), np.zeros(1)
        frequencies, density = signal.periodogram(w, (len(w) - 1) / s[-1], "hann", size, detrend="constant")
        return frequencies[1:], density[1:] * frequencies[1]

    def _band_energy(self, w, s, i, band):
        low, high = (float(x) for x in band.split("-"))
        f, p = self._spectrum(w, s)
        return p[(f >= low) & (f <= high)].sum()

    def _dominant_frequency(self, w, s, i):
        f, p = self._spectrum(w, s)
        return f[p.argmax()] if p.sum() > 0 else 0.0

    def _spectral_centroid(self, w, s, i):
        f, p = self._spectrum(w, s)
        return (f * p).sum() / p.sum() if p.sum() > 0 else 0.0

    def _spectral_entropy(self, w, s, i):
        _, p = self._spectrum(w, s)
        if p.sum() == 0:
            return 0.0
        return stats.entropy(p / p.sum()) / math.log(max(len(p), 2))

    def _shares(self, w, arguments):
        *edges, bins = (float(x) for x in arguments.split(","))
        low, high = edges or (w.min(), w.max())
        if low == high:
            return np.eye(int(bins))[0]
        inner = np.linspace(low, high, int(bins) + 1)[1:-1]
        return np.bincount(np.searchsorted(inner, w, "right"), minlength=int(bins)) / len(w)

    def _histogram(self, w, s, i, arguments, which):
        return self._shares(w, arguments)[which]

    def _entropy(self, w, s, i, arguments):
        return stats.entropy(self._shares(w, arguments))

    def _time_since(self, w, s, i, condition):
        operator, threshold = re.fullmatch(r"(>=|<=|==|>|<)(.*)", condition).groups()
        past = self.a[: i + 1]
        holds = {">": past > float(threshold), "<=": past <= float(threshold), "==": past == float(threshold)}[operator]
        return (self.t[i] - self.t[np.flatnonzero(holds)[-1] if holds.any() else 0]) * 1e-9

    def _rate(self, w, s, i):
        return (len(w) - 1) / s[-1] if len(w) > 1 else 0.0

    def _missing_ratio(self, w, s, i):
        period = 1 / self.rate_hz
        lasts = self.window.value * 1e-9 if self.window.by_time else s[-1] + period
        expected = max(len(w), math.floor(lasts / period + 0.5))
        return (expected - len(w) + np.count_nonzero(self.marks[i + 1 - len(w) : i + 1])) / expected

    def _first(self, w, s, i):
        return w[0]

    def _last(self, w, s, i):
        return w[-1]

    def _count(self, w, s, i):
        return len(w)

    def _age(self, w, s, i):
        return 0.0
