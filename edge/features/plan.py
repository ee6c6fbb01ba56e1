"""The feature plan: which statistics, over which windows, in which order; laid out as the tables that the kernel reads.

Adding a statistic means one entry in STATISTICS and its operation in edge.kernels.window.
"""

import hashlib
import json
import math
from collections.abc import Sequence

import msgspec
import numpy as np

from edge.kernels import layout as k
from edge.units import duration_ns, format_duration

MAX_WINDOW_ROWS = 1 << 20
TIME_WINDOW_HEADROOM = 1.5  # rows kept beyond rate x window, for senders that run faster than they say


class Statistic(msgspec.Struct, frozen=True):
    """One rolling statistic.

    Args:
        operation: number in edge.kernels.window.
        families: what must be kept up to date for it (bits).
        unit: pattern of the result's unit; ``{}`` is the channel's.
        formula: definition over the n rows x of a window, for the documentation.
        cost: how it is kept, for the documentation.
    """

    operation: int
    families: int
    unit: str
    formula: str
    cost: str


_MERGED = "O(1) amortised, two-stack aggregation"
STATISTICS: dict[str, Statistic] = {
    "mean": Statistic(k.OP_MEAN, k.MOMENTS, "{}", "sum(x) / n", _MERGED),
    "var": Statistic(k.OP_VAR, k.MOMENTS, "({})^2", "sum((x - mean)^2) / n (population); 0 for one sample", _MERGED),
    "std": Statistic(k.OP_STD, k.MOMENTS, "{}", "sqrt(var)", _MERGED),
    "rms": Statistic(k.OP_RMS, k.MOMENTS, "{}", "sqrt(sum(x^2) / n)", _MERGED),
    "min": Statistic(k.OP_MIN, k.EXTREMA, "{}", "least x", _MERGED),
    "max": Statistic(k.OP_MAX, k.EXTREMA, "{}", "greatest x", _MERGED),
    "p2p": Statistic(k.OP_P2P, k.EXTREMA, "{}", "max - min", _MERGED),
    "slope": Statistic(
        k.OP_SLOPE, k.MOMENTS | k.TREND, "{}/s", "least-squares slope of x over the stamps in seconds; 0 for one sample", _MERGED
    ),
    "zero_crossings": Statistic(
        k.OP_CROSSINGS, k.CROSSINGS, "1", "pairs of neighbours of which exactly one is negative", "O(1), exact integer count"
    ),
    "ewma": Statistic(
        k.OP_EWMA,
        k.EWMA,
        "{}",
        "m += a * (x - m), from the first x on; a = 2 / (W + 1) for W samples, 1 - exp(-dt / W) for a time window; never forgets at the "
        "window's edge",
        "O(1)",
    ),
    "last": Statistic(k.OP_LAST, 0, "{}", "the newest x", "O(1)"),
    "count": Statistic(k.OP_COUNT, 0, "1", "n", "O(1)"),
}


class Span(msgspec.Struct, frozen=True):
    """A window or hop: a duration (``by_time``, value in ns) or a number of samples."""

    value: int
    by_time: bool

    @classmethod
    def parse(cls, text: str | int) -> "Span":
        """Read ``"1s"`` or ``256``.

        Raises:
            ValueError: not a duration, or a number below 1.
        """
        if isinstance(text, int):
            if text < 1:
                raise ValueError(f"{text} samples; write at least 1, or a duration such as '1s'")
            return cls(text, by_time=False)
        return cls(duration_ns(text), by_time=True)

    def __str__(self) -> str:
        return format_duration(self.value) if self.by_time else str(self.value)


class StreamShape(msgspec.Struct, frozen=True):
    """What the plan must know of a telemetry stream.

    Args:
        name: logical name.
        channels: channel name to unit, in column order.
        rate_hz: nominal rate, needed by time windows.
        max_rows: most samples in one message.
        max_gap_ns: a longer step between stamps is a gap; 0: never.
        resets_on_gap: a gap empties the windows.
    """

    name: str
    channels: dict[str, str]
    rate_hz: float | None = None
    max_rows: int = 1024
    max_gap_ns: int = 0
    resets_on_gap: bool = True


class Group(msgspec.Struct, frozen=True):
    """Statistics of some channels of one stream over one window: one ``[[features]]`` entry."""

    stream: str
    channels: tuple[str, ...]
    window: Span
    hop: Span
    stats: tuple[str, ...]

    def window_rows(self, rate_hz: float | None) -> int:
        """Most rows the window can hold.

        Raises:
            ValueError: a time window without a rate, or more than 2^20 rows.
        """
        if not self.window.by_time:
            rows = self.window.value
        elif rate_hz is None:
            raise ValueError(f"a window of {self.window} needs streams.{self.stream}.rate_hz")
        else:
            rows = math.ceil(rate_hz * self.window.value * 1e-9 * TIME_WINDOW_HEADROOM) + 2
        if rows > MAX_WINDOW_ROWS:
            raise ValueError(f"a window of {self.window} holds {rows} samples; at most {MAX_WINDOW_ROWS} are possible")
        return rows

    def names(self) -> list[str]:
        """Feature names in order: channel by channel, each with all statistics."""
        return [f"{self.stream}.{channel}.{stat}.{self.window}" for channel in self.channels for stat in self.stats]

    def units(self, channels: dict[str, str]) -> list[str]:
        """Units in the same order."""
        return [STATISTICS[stat].unit.format(channels[channel]) for channel in self.channels for stat in self.stats]


def feature_hash(names: Sequence[str], units: Sequence[str]) -> str:
    """Sha256 of the ordered names and units: equal hashes mean that a model and a pipeline mean the same vector."""
    pairs = [[name, unit] for name, unit in zip(names, units, strict=True)]
    return hashlib.sha256(json.dumps(pairs, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def _pow2(n: int) -> int:
    return 1 << max(n - 1, 1).bit_length()


class FeaturePlan:
    """The whole vector: names, units, hash, and the tables for the kernel.

    Args:
        streams: the telemetry streams.
        groups: in vector order; the first one triggers.

    Attributes:
        names, units: of the F features, in order.
        hash: see feature_hash.
        stream_index: row of each stream in the stream table.
        trigger: name of the stream whose rows complete vectors, or "" when there are no features.

    Raises:
        ValueError: an unknown stream, channel or statistic, or a window that cannot be held.
    """

    def __init__(self, streams: Sequence[StreamShape], groups: Sequence[Group]) -> None:
        self.streams = tuple(streams)
        self.groups = tuple(groups)
        self.stream_index = {stream.name: i for i, stream in enumerate(self.streams)}
        self.trigger = self.groups[0].stream if self.groups else ""
        by_name = {stream.name: stream for stream in self.streams}
        for group in self.groups:
            _check(group, by_name)
        self.names = tuple(name for group in self.groups for name in group.names())
        self.units = tuple(unit for group in self.groups for unit in group.units(by_name[group.stream].channels))
        self.hash = feature_hash(self.names, self.units)
        # The kernel wants a stream's groups side by side, and the trigger's first.
        order = sorted(
            range(len(self.groups)), key=lambda g: (self.groups[g].stream != self.trigger, self.stream_index[self.groups[g].stream])
        )
        self._lay_out(order)

    def _lay_out(self, order: list[int]) -> None:
        """Give every stream and group its place in a lane's three rows of state."""
        firsts = np.cumsum([0] + [len(group.names()) for group in self.groups])
        self.stream_table = np.zeros((max(len(self.streams), 1), k.STREAM_COLUMNS), np.int64)
        self.group_table = np.zeros((len(order), k.GROUP_COLUMNS), np.int64)
        self.feature_table = np.zeros((len(self.names), 2), np.int64)
        column_list: list[int] = []
        f32, f64, i64 = len(self.names), 0, 0
        for s, stream in enumerate(self.streams):
            mine = [g for g in order if self.groups[g].stream == stream.name]
            capacity = _pow2(max([self.groups[g].window_rows(stream.rate_hz) for g in mine], default=1) + 1)
            first = order.index(mine[0]) if mine else 0
            self.stream_table[s] = (
                len(stream.channels), capacity, f32, i64, i64 + capacity, first, first + len(mine), stream.max_gap_ns, stream.resets_on_gap,
            )  # fmt: skip
            f32 += capacity * len(stream.channels)
            i64 += capacity + k.STREAM_STATE
        for row, g in enumerate(order):
            group = self.groups[g]
            stream = self.streams[self.stream_index[group.stream]]
            columns = len(group.channels)
            capacity = _pow2(group.window_rows(stream.rate_hz))
            families = 0
            for stat in group.stats:
                families |= STATISTICS[stat].families
            record = k.record_size(columns)
            has_records = bool(families & (k.MOMENTS | k.EXTREMA | k.TREND))
            self.group_table[row] = (
                columns, len(column_list), families, group.window.by_time, group.window.value, group.hop.by_time, group.hop.value,
                capacity, i64, f64, f64 + record + columns, firsts[g], firsts[g + 1],
            )  # fmt: skip
            column_list += [list(stream.channels).index(channel) for channel in group.channels]
            i64 += k.GROUP_STATE + columns
            f64 += record + columns + (capacity * record if has_records else 0)
            ops = [(STATISTICS[stat].operation, c) for c in range(columns) for stat in group.stats]
            self.feature_table[firsts[g] : firsts[g + 1]] = ops
        self.column_list = np.array(column_list or [0], np.int64)
        self.state_sizes = (max(f32, 1), max(f64, 1), max(i64, 1))

    @property
    def lane_bytes(self) -> int:
        """Memory of one device's windows."""
        f32, f64, i64 = self.state_sizes
        return 4 * f32 + 8 * f64 + 8 * i64


def _check(group: Group, streams: dict[str, StreamShape]) -> None:
    if group.stream not in streams:
        raise ValueError(f"unknown stream {group.stream!r}; declared are {', '.join(streams)}")
    for channel in group.channels:
        if channel not in streams[group.stream].channels:
            raise ValueError(f"stream {group.stream!r} has no channel {channel!r}; it has {', '.join(streams[group.stream].channels)}")
    for stat in group.stats:
        if stat not in STATISTICS:
            raise ValueError(f"unknown statistic {stat!r}; there are {', '.join(STATISTICS)}")
    if group.hop.by_time is False and group.hop.value < 1:
        raise ValueError("hop must be at least one sample")
    group.window_rows(streams[group.stream].rate_hz)
