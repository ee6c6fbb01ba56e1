"""Every rolling statistic: its name, its parameters, what computes it, and what the documentation says of it. One table.

Adding a statistic means one entry here and its operation in the kernel of its kind (edge.kernels.layout).
"""

import re

from edge.features.parameters import (
    Part,
    Statistic,
    read_band,
    read_bins,
    read_condition,
    read_lag,
    read_lags,
    read_magnitude,
    read_median,
    read_other,
    read_quantile,
)
from edge.kernels import layout as k

_CALL = re.compile(r"([A-Za-z_]\w*)\s*(?:\((.*)\))?", re.ASCII)

_MERGED = "O(1) amortised, two stacks"
_ORDER = "O(log W) to find, one move within a block of at most 2 sqrt(W)"
_VECTOR = "O(W) a vector"
_FFT = "O(W log W) a vector, one FFT for all spectral statistics of a channel"
_HANN = "P is the one-sided power spectrum of x - mean under a Hann window, zero-padded to a power of two; f in Hz by the stamps"

STATISTICS: dict[str, Statistic] = {
    "mean": Statistic(k.MOMENTS, k.OP_MEAN, "{}", "sum(x) / n", _MERGED),
    "var": Statistic(k.MOMENTS, k.OP_VAR, "({})^2", "sum((x - mean)^2) / n (population)", _MERGED, "0 for one sample"),
    "std": Statistic(k.MOMENTS, k.OP_STD, "{}", "sqrt(var)", _MERGED, "0 for one sample"),
    "rms": Statistic(k.MOMENTS, k.OP_RMS, "{}", "sqrt(sum(x^2) / n)", _MERGED),
    "skew": Statistic(k.HIGHER, k.OP_SKEW, "1", "mean((x - mean)^3) / std^3 (population)", _MERGED, "0 for constant x"),
    "kurtosis": Statistic(
        k.HIGHER, k.OP_KURTOSIS, "1", "mean((x - mean)^4) / var^2 - 3 (excess, population)", _MERGED, "0 for constant x"
    ),
    "min": Statistic(k.EXTREMA, k.OP_MIN, "{}", "least x", _MERGED),
    "max": Statistic(k.EXTREMA, k.OP_MAX, "{}", "greatest x", _MERGED),
    "p2p": Statistic(k.EXTREMA, k.OP_P2P, "{}", "max - min", _MERGED),
    "crest": Statistic(k.EXTREMA, k.OP_CREST, "1", "max(|x|) / rms", _MERGED, "0 where rms is 0"),
    "argmin": Statistic(k.PLACES, k.OP_ARGMIN, "s", "time since the latest least x", _MERGED),
    "argmax": Statistic(k.PLACES, k.OP_ARGMAX, "s", "time since the latest greatest x", _MERGED),
    "median": Statistic(k.ORDER, k.OP_QUANTILE, "{}", "quantile(0.5)", _ORDER, read=read_median),
    "quantile": Statistic(
        k.ORDER, k.OP_QUANTILE, "{}", "x sorted, at q (n - 1), linear between neighbours", _ORDER, form="quantile(0.9)", read=read_quantile
    ),
    "iqr": Statistic(k.ORDER, k.OP_IQR, "{}", "quantile(0.75) - quantile(0.25)", _ORDER, "0 for one sample"),
    "mad": Statistic(k.ORDER, k.OP_MAD, "{}", "median(|x - median|), not scaled", f"{_ORDER}; O(log W) looks a vector", "0 for one sample"),
    "zero_crossings": Statistic(k.CROSSINGS, 0, "1", "pairs of neighbours of which exactly one is negative", "O(1), exact count"),
    "mean_crossings": Statistic(
        k.SCAN, k.OP_MEAN_CROSSINGS, "1", "pairs of neighbours of which exactly one is below the window's mean", _VECTOR
    ),
    "slope": Statistic(k.TREND, 0, "{}/s", "least-squares slope of x over the stamps in seconds", _MERGED, "0 for one sample"),
    "integral": Statistic(
        k.PATH, k.OP_INTEGRAL, "{}*s", "sum of trapezoids between neighbours, over the stamps in seconds", _MERGED, "0 for one sample"
    ),
    "derivative": Statistic(
        k.POINT, k.OP_DERIVATIVE, "{}/s", "(newest x - the one before) / seconds between them", "O(1)", "0 for one sample"
    ),
    "jerk": Statistic(
        k.PATH,
        k.OP_JERK,
        "{}/s",
        "rms of the derivative between neighbours (of an acceleration: rms jerk, the measure of ride comfort)",
        _MERGED,
        "0 for one sample",
    ),
    "ewma": Statistic(
        k.SMOOTH,
        k.OP_EWMA,
        "{}",
        "m += a (x - m), from the first x on; a = 2 / (W + 1) for W samples, 1 - exp(-dt / W) for a time window",
        "O(1)",
        "never forgets at the window's edge",
    ),
    "ewvar": Statistic(
        k.SMOOTH,
        k.OP_EWVAR,
        "({})^2",
        "v = (1 - a) (v + a (x - m)^2) with ewma's a, and its m before x",
        "O(1)",
        "0 at first; never forgets at the window's edge",
    ),
    "lag": Statistic(
        k.POINT,
        k.OP_LAG,
        "{}",
        "x k samples before the newest; a range is one feature a sample, in the order written: `lag(127-0)` is the last 128 samples, "
        "oldest first, as models of raw windows take them",
        "O(1) each",
        "the oldest x where n <= k",
        form="lag(3) or lag(127-0)",
        read=read_lags,
    ),
    "autocorr": Statistic(
        k.SCAN,
        k.OP_AUTOCORR,
        "1",
        "sum((x[i] - mean) (x[i - k] - mean)) / sum((x - mean)^2), by samples",
        _VECTOR,
        "0 for constant x and where n <= k",
        form="autocorr(5)",
        read=read_lag,
    ),
    "cov": Statistic(
        k.COMOMENTS, k.OP_COV, "({})*({other})", "mean((x - mean x) (y - mean y)) (population)", _MERGED, "0 for one sample",
        form="cov(ay)", read=read_other,
    ),
    "corr": Statistic(
        k.COMOMENTS, k.OP_CORR, "1", "cov / (std x std y), Pearson's", _MERGED, "0 where either is constant", form="corr(ay)",
        read=read_other,
    ),
    "magnitude": Statistic(
        k.POINT, k.OP_MAGNITUDE, "{}", "sqrt(x^2 + y^2 + ...) of the newest row", "O(1)", form="magnitude(ay,az)", read=read_magnitude
    ),
    "band_energy": Statistic(
        k.SPECTRUM, k.OP_BAND, "({})^2", f"mean square within low <= f <= high: sum(P). {_HANN}", _FFT, "0 for one sample and constant x",
        form="band_energy(20-40)", read=read_band,
    ),
    "dominant_frequency": Statistic(k.SPECTRUM, k.OP_DOMINANT, "Hz", "f of the greatest P", _FFT, "0 for constant x"),
    "spectral_centroid": Statistic(k.SPECTRUM, k.OP_CENTROID, "Hz", "sum(f P) / sum(P)", _FFT, "0 for constant x"),
    "spectral_entropy": Statistic(
        k.SPECTRUM, k.OP_SPECTRAL_ENTROPY, "1", "-sum(p ln p) / ln(bins) with p = P / sum(P)", _FFT, "0 for constant x"
    ),
    "histogram": Statistic(
        k.BINS,
        k.OP_SHARE,
        "1",
        "share of x in each of so many bins of equal width, one feature a bin: `[0]`, `[1]`, ...; with given edges the outer bins are "
        "open to the outside, otherwise the bins span the window's own range",
        f"O(1) with given edges, {_VECTOR} otherwise",
        "constant x is in the first bin of its own range",
        form="histogram(-2,2,8) or histogram(8)",
        read=read_bins,
    ),
    "entropy": Statistic(
        k.BINS,
        k.OP_ENTROPY,
        "1",
        "-sum(p ln p) of the histogram's shares",
        f"O(1) with given edges, {_VECTOR} otherwise",
        "0 for constant x",
        form="entropy(-2,2,8) or entropy(8)",
        read=read_bins,
    ),
    "time_since": Statistic(
        k.SINCE,
        0,
        "s",
        "newest stamp - stamp of the latest x for which the condition held",
        "O(1)",
        "time since the first sample where it never held; never forgets at the window's edge",
        form="time_since(>5)",
        read=read_condition,
    ),
    "rate": Statistic(k.POINT, k.OP_RATE, "Hz", "(n - 1) / seconds from the oldest to the newest stamp", "O(1)", "0 for one sample"),
    "missing_ratio": Statistic(
        k.FILLED,
        0,
        "1",
        "share of the samples expected by rate_hz that were not measured: never came, were refused, or were filled in by cleaning",
        "O(1), exact count",
        "without rate_hz: share of the window's samples that were filled in",
    ),
    "first": Statistic(k.POINT, k.OP_FIRST, "{}", "the oldest x", "O(1)"),
    "last": Statistic(k.POINT, k.OP_LAST, "{}", "the newest x", "O(1)"),
    "count": Statistic(k.POINT, k.OP_COUNT, "1", "n", "O(1)"),
    "age": Statistic(
        k.POINT, k.OP_AGE, "s", "stamp of the vector - newest stamp of this stream", "O(1)", "0 for the stream that triggers"
    ),
}  # fmt: skip


def parse_stat(text: str) -> tuple[Part, ...]:
    """The features of one channel that a statistic's text asks for: one, or one for each bin of a histogram.

    Args:
        text: such as ``mean``, ``quantile(0.9)``, ``corr(ay)``.

    Raises:
        ValueError: an unknown statistic or parameters it cannot have; says what would be right.
    """
    match = _CALL.fullmatch(text.strip())
    name = match[1] if match else text.strip()
    if match is None or name not in STATISTICS:
        raise ValueError(f"unknown statistic {name!r}; there are {', '.join(STATISTICS)}")
    stat, arguments = STATISTICS[name], match[2]
    if stat.form and arguments is None:
        raise ValueError(f"{name} needs parameters; write {stat.form}")
    if not stat.form and arguments is not None:
        raise ValueError(f"{name} takes no parameters")
    if stat.read is None:
        return (Part(name, stat.kind, stat.operation, stat.unit),)
    try:
        return stat.read(name, stat, arguments or "")
    except ValueError as fault:
        raise ValueError(f"{name}: {fault}") from None
