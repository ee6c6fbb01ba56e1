"""Every rolling statistic: its name, its parameters, what computes it, and what the documentation says of it. One table.

Adding a statistic means one entry here and its operation in the kernel of its kind (edge.kernels.layout).
"""

import math
import re
from collections.abc import Callable

import msgspec

from edge.kernels import layout as k

MAX_BINS = 1024
MAX_LAG = 1 << 20
_CALL = re.compile(r"([A-Za-z_]\w*)\s*(?:\((.*)\))?", re.ASCII)
_CONDITION = re.compile(r"(>=|<=|==|>|<)\s*(.+)")
_BAND = re.compile(r"([0-9.eE+]+)\s*-\s*([0-9.eE+]+)")
_CONDITIONS = {">": k.OP_ABOVE, ">=": k.OP_ABOVE_OR_AT, "<": k.OP_BELOW, "<=": k.OP_BELOW_OR_AT, "==": k.OP_EQUAL}


class Part(msgspec.Struct, frozen=True):
    """One feature of a channel, as a statistic's text asks for it.

    Args:
        text: canonical, part of the feature's name.
        kind: of the job that computes it.
        operation: what of the job's results.
        unit: pattern; ``{}`` is the channel's, ``{other}`` the other channel's.
        i, j: whole-number parameters of the operation.
        numbers: its other parameters.
        others: channels it needs beside its own.
        shares: parts of one channel with equal values share a job.
    """

    text: str
    kind: int
    operation: int
    unit: str
    i: int = 0
    j: int = 0
    numbers: tuple[float, ...] = ()
    others: tuple[str, ...] = ()
    shares: tuple[float | str, ...] = ()


class Statistic(msgspec.Struct, frozen=True):
    """One rolling statistic.

    Args:
        kind: of the job that computes it.
        operation: what of the job's results.
        unit: pattern of the result's unit; ``{}`` is the channel's.
        formula: definition over the n samples x of a window, for the documentation.
        cost: of a sample (or of a vector), for the documentation.
        edge: what it gives where the formula says nothing.
        form: how it is written with its parameters, or "".
        read: parameters to parts; None: takes none.
    """

    kind: int
    operation: int
    unit: str
    formula: str
    cost: str
    edge: str = ""
    form: str = ""
    read: Callable[[str, "Statistic", str], tuple[Part, ...]] | None = None


def _number(text: str, form: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a number; write {form}") from None
    if not math.isfinite(value):
        raise ValueError(f"{text.strip()} is not finite; write {form}")
    return value


def _whole(text: str, form: str, most: int) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text) or not 1 <= int(text) <= most:
        raise ValueError(f"{text.strip()!r} is not a whole number from 1 to {most}; write {form}")
    return int(text)


def _quantile(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    q = _number(arguments, stat.form)
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"{q:g} is not within 0 and 1; write {stat.form}")
    return (Part(f"{name}({q:g})", stat.kind, stat.operation, stat.unit, numbers=(float(f"{q:g}"),)),)


def _median(name: str, stat: Statistic, _: str) -> tuple[Part, ...]:
    return (Part(name, stat.kind, stat.operation, stat.unit, numbers=(0.5,)),)


def _lag(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    lag = _whole(arguments, stat.form, MAX_LAG)
    return (Part(f"{name}({lag})", stat.kind, stat.operation, stat.unit, i=lag),)


def _other(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    other = arguments.strip()
    if not other or "," in other:
        raise ValueError(f"needs one other channel; write {stat.form}")
    return (Part(f"{name}({other})", stat.kind, stat.operation, stat.unit, others=(other,), shares=(other,)),)


def _magnitude(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    others = tuple(other.strip() for other in arguments.split(","))
    if not all(others) or len(set(others)) != len(others):
        raise ValueError(f"needs other channels, each once; write {stat.form}")
    return (Part(f"{name}({','.join(others)})", stat.kind, stat.operation, stat.unit, others=others),)


def _band(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    match = _BAND.fullmatch(arguments.strip())
    if match is None:
        raise ValueError(f"{arguments.strip()!r} is not a band in Hz; write {stat.form}")
    low, high = (_number(text, stat.form) for text in match.groups())
    if not low < high:
        raise ValueError(f"the band must begin below its end, not {low:g}-{high:g}")
    low, high = float(f"{low:g}"), float(f"{high:g}")
    return (Part(f"{name}({low:g}-{high:g})", stat.kind, stat.operation, stat.unit, numbers=(low, high)),)


def _condition(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    match = _CONDITION.fullmatch(arguments.strip())
    if match is None:
        raise ValueError(f"{arguments.strip()!r} is not a condition; write {stat.form}")
    threshold = float(f"{_number(match[2], stat.form):g}")
    text = f"{match[1]}{threshold:g}"
    return (Part(f"{name}({text})", stat.kind, _CONDITIONS[match[1]], stat.unit, numbers=(threshold,), shares=(text,)),)


def _bins(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """Fixed edges (low, high, bins), or the window's own range (bins)."""
    texts = arguments.split(",")
    if len(texts) not in (1, 3):
        raise ValueError(f"takes bins, or lowest, highest and bins; write {stat.form}")
    bins = _whole(texts[-1], stat.form, MAX_BINS)
    is_share = stat.operation == k.OP_SHARE
    which = range(bins) if is_share else range(1)
    suffixes = [f"[{b}]" for b in which] if is_share else [""]
    if len(texts) == 1:
        operation = k.OP_OWN_SHARE if is_share else k.OP_OWN_ENTROPY
        return tuple(Part(f"{name}({bins}){suffixes[b]}", k.SCAN, operation, stat.unit, i=b, j=bins) for b in which)
    low, high = (float(f"{_number(text, stat.form):g}") for text in texts[:2])
    if not low < high:
        raise ValueError(f"the lowest edge must be below the highest, not {low:g} and {high:g}")
    shares = (low, high, float(bins))
    return tuple(
        Part(f"{name}({low:g},{high:g},{bins}){suffixes[b]}", stat.kind, stat.operation, stat.unit, i=b, shares=shares) for b in which
    )


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
    "median": Statistic(k.ORDER, k.OP_QUANTILE, "{}", "quantile(0.5)", _ORDER, read=_median),
    "quantile": Statistic(
        k.ORDER, k.OP_QUANTILE, "{}", "x sorted, at q (n - 1), linear between neighbours", _ORDER, form="quantile(0.9)", read=_quantile
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
        k.POINT, k.OP_LAG, "{}", "x k samples before the newest", "O(1)", "the oldest x where n <= k", form="lag(3)", read=_lag
    ),
    "autocorr": Statistic(
        k.SCAN,
        k.OP_AUTOCORR,
        "1",
        "sum((x[i] - mean) (x[i - k] - mean)) / sum((x - mean)^2), by samples",
        _VECTOR,
        "0 for constant x and where n <= k",
        form="autocorr(5)",
        read=_lag,
    ),
    "cov": Statistic(
        k.COMOMENTS, k.OP_COV, "({})*({other})", "mean((x - mean x) (y - mean y)) (population)", _MERGED, "0 for one sample",
        form="cov(ay)", read=_other,
    ),
    "corr": Statistic(
        k.COMOMENTS, k.OP_CORR, "1", "cov / (std x std y), Pearson's", _MERGED, "0 where either is constant", form="corr(ay)", read=_other
    ),
    "magnitude": Statistic(
        k.POINT, k.OP_MAGNITUDE, "{}", "sqrt(x^2 + y^2 + ...) of the newest row", "O(1)", form="magnitude(ay,az)", read=_magnitude
    ),
    "band_energy": Statistic(
        k.SPECTRUM, k.OP_BAND, "({})^2", f"mean square within low <= f <= high: sum(P). {_HANN}", _FFT, "0 for one sample and constant x",
        form="band_energy(20-40)", read=_band,
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
        read=_bins,
    ),
    "entropy": Statistic(
        k.BINS,
        k.OP_ENTROPY,
        "1",
        "-sum(p ln p) of the histogram's shares",
        f"O(1) with given edges, {_VECTOR} otherwise",
        "0 for constant x",
        form="entropy(-2,2,8) or entropy(8)",
        read=_bins,
    ),
    "time_since": Statistic(
        k.SINCE,
        0,
        "s",
        "newest stamp - stamp of the latest x for which the condition held",
        "O(1)",
        "time since the first sample where it never held; never forgets at the window's edge",
        form="time_since(>5)",
        read=_condition,
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
