"""How statistics are written with parameters: their text to the features they ask for, each with one canonical name.

Numbers are computed with and named by exactly what was written: nothing is rounded on the way.
"""

import math
import re
from collections.abc import Callable

import msgspec

from edge.kernels import layout as k

MAX_BINS = 1024
MAX_LAG = 1 << 20
MAX_LAGS = 1 << 16  # of one range: each is a feature
_CONDITION = re.compile(r"(>=|<=|==|>|<)\s*(.+)")
_LAGS = re.compile(r"([0-9]{1,7})\s*-\s*([0-9]{1,7})")
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


def number(text: str, form: str) -> float:
    """A finite number of a parameter."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a number; write {form}") from None
    if not math.isfinite(value):
        raise ValueError(f"{text.strip()} is not finite; write {form}")
    return value


def exact_text(value: float) -> str:
    """The shortest text that is exactly this number."""
    return repr(value).removesuffix(".0")


def whole(text: str, form: str, most: int) -> int:
    """A whole number from 1 to ``most``."""
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text) or not 1 <= int(text) <= most:
        raise ValueError(f"{text.strip()!r} is not a whole number from 1 to {most}; write {form}")
    return int(text)


def read_quantile(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """A share from 0 to 1."""
    q = number(arguments, stat.form)
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"{q:g} is not within 0 and 1; write {stat.form}")
    return (Part(f"{name}({exact_text(q)})", stat.kind, stat.operation, stat.unit, numbers=(q,)),)


def read_median(name: str, stat: Statistic, _: str) -> tuple[Part, ...]:
    """No parameter: the quantile at one half."""
    return (Part(name, stat.kind, stat.operation, stat.unit, numbers=(0.5,)),)


def read_lags(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """A number of samples, or a range of them in either direction: one feature a sample, for models of raw windows."""
    if match := _LAGS.fullmatch(arguments.strip()):
        first, last = int(match[1]), int(match[2])
        if max(first, last) > MAX_LAG or abs(first - last) >= MAX_LAGS:
            raise ValueError(f"{arguments.strip()!r}: a range has at most {MAX_LAGS} samples, up to {MAX_LAG} back; write {stat.form}")
        lags = range(first, last + 1) if first <= last else range(first, last - 1, -1)
    elif arguments.strip() == "0":
        lags = range(1)
    else:
        return read_lag(name, stat, arguments)
    return tuple(Part(f"{name}({lag})", stat.kind, stat.operation, stat.unit, i=lag) for lag in lags)


def read_lag(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """A number of samples."""
    lag = whole(arguments, stat.form, MAX_LAG)
    return (Part(f"{name}({lag})", stat.kind, stat.operation, stat.unit, i=lag),)


def read_other(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """Another channel."""
    other = arguments.strip()
    if not other or "," in other:
        raise ValueError(f"needs one other channel; write {stat.form}")
    return (Part(f"{name}({other})", stat.kind, stat.operation, stat.unit, others=(other,), shares=(other,)),)


def read_magnitude(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """Other channels."""
    others = tuple(other.strip() for other in arguments.split(","))
    if not all(others) or len(set(others)) != len(others):
        raise ValueError(f"needs other channels, each once; write {stat.form}")
    return (Part(f"{name}({','.join(others)})", stat.kind, stat.operation, stat.unit, others=others),)


def read_band(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """A band of frequencies, ``low-high`` in Hz."""
    match = _BAND.fullmatch(arguments.strip())
    if match is None:
        raise ValueError(f"{arguments.strip()!r} is not a band in Hz; write {stat.form}")
    low, high = (number(text, stat.form) for text in match.groups())
    if not low < high:
        raise ValueError(f"the band must begin below its end, not {low:g}-{high:g}")
    return (Part(f"{name}({exact_text(low)}-{exact_text(high)})", stat.kind, stat.operation, stat.unit, numbers=(low, high)),)


def read_condition(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """A comparison with a number."""
    match = _CONDITION.fullmatch(arguments.strip())
    if match is None:
        raise ValueError(f"{arguments.strip()!r} is not a condition; write {stat.form}")
    threshold = number(match[2], stat.form)
    text = f"{match[1]}{exact_text(threshold)}"
    return (Part(f"{name}({text})", stat.kind, _CONDITIONS[match[1]], stat.unit, numbers=(threshold,), shares=(text,)),)


def read_bins(name: str, stat: Statistic, arguments: str) -> tuple[Part, ...]:
    """Fixed edges (low, high, bins), or the window's own range (bins)."""
    texts = arguments.split(",")
    if len(texts) not in (1, 3):
        raise ValueError(f"takes bins, or lowest, highest and bins; write {stat.form}")
    bins = whole(texts[-1], stat.form, MAX_BINS)
    is_share = stat.operation == k.OP_SHARE
    which = range(bins) if is_share else range(1)
    suffixes = [f"[{b}]" for b in which] if is_share else [""]
    if len(texts) == 1:
        operation = k.OP_OWN_SHARE if is_share else k.OP_OWN_ENTROPY
        return tuple(Part(f"{name}({bins}){suffixes[b]}", k.SCAN, operation, stat.unit, i=b, j=bins) for b in which)
    low, high = (number(text, stat.form) for text in texts[:2])
    if not low < high:
        raise ValueError(f"the lowest edge must be below the highest, not {low:g} and {high:g}")
    shares = (low, high, float(bins))
    return tuple(
        Part(f"{name}({exact_text(low)},{exact_text(high)},{bins}){suffixes[b]}", stat.kind, stat.operation, stat.unit, i=b, shares=shares)
        for b in which
    )
