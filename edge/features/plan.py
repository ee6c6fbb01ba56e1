"""The feature plan: which statistics, over which windows, in which order; laid out as the tables that the kernel reads."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

import msgspec

from edge.features.functions import UserFunction
from edge.features.layout import Layout
from edge.features.parameters import Part
from edge.features.statistics import parse_stat
from edge.kernels import layout as k
from edge.units import duration_ns, format_duration

MAX_WINDOW_ROWS = 1 << 20
TIME_WINDOW_HEADROOM = 1.5  # rows kept beyond rate x window, for senders that run faster than they say


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
        asof_ns: when another stream triggers, this one's newest row may be so old; 0: any age.
    """

    name: str
    channels: dict[str, str]
    rate_hz: float | None = None
    max_rows: int = 1024
    max_gap_ns: int = 0
    resets_on_gap: bool = True
    asof_ns: int = 0


class Group(msgspec.Struct, frozen=True):
    """Statistics of some channels of one stream over one window: one ``[[features]]`` entry.

    Args:
        stream, channels: whose samples.
        window, hop: over how much, how often.
        stats: see edge.features.statistics; or names of ``functions``.
        functions: the user's own statistics by name.
        is_plain: the values themselves, under the channels' names.
    """

    stream: str
    channels: tuple[str, ...]
    window: Span
    hop: Span
    stats: tuple[str, ...]
    functions: Mapping[str, UserFunction] = {}
    is_plain: bool = False

    @classmethod
    def plain(cls, stream: str, channels: tuple[str, ...]) -> "Group":
        """The newest value of each channel, under its own name."""
        one = Span(1, by_time=False)
        return cls(stream, channels, one, one, ("last",), is_plain=True)

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

    def parts(self) -> list[Part]:
        """Features of one channel, in order.

        Raises:
            ValueError: a statistic that does not exist, or cannot have its parameters.
        """
        found: list[Part] = []
        for stat in self.stats:
            own = self.functions.get(stat)
            found += [Part(own.title, k.USER, 0, own.unit, shares=(stat,))] if own else parse_stat(stat)
        return found

    def names(self) -> list[str]:
        """Feature names in order: channel by channel, each with all statistics."""
        if self.is_plain:
            return list(self.channels)
        parts = self.parts()
        return [f"{self.stream}.{channel}.{part.text}.{self.window}" for channel in self.channels for part in parts]

    def units(self, channels: Mapping[str, str]) -> list[str]:
        """Units in the same order."""
        parts = self.parts()
        return [
            part.unit.format(channels[channel], other=channels[part.others[0]] if part.others else "")
            for channel in self.channels
            for part in parts
        ]


class Columns(msgspec.Struct, frozen=True):
    """Columns of a table keyed by device: one ``[[features]]`` entry with ``table``.

    Args:
        table: its name.
        columns: column name to unit, in order.
    """

    table: str
    columns: dict[str, str]

    def names(self) -> list[str]:
        """Feature names in order."""
        return [f"{self.table}.{column}" for column in self.columns]


def feature_hash(names: Sequence[str], units: Sequence[str]) -> str:
    """Sha256 of the ordered names and units: equal hashes mean that a model and a pipeline mean the same vector."""
    pairs = [[name, unit] for name, unit in zip(names, units, strict=True)]
    return hashlib.sha256(json.dumps(pairs, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


class FeaturePlan:
    """The whole vector: names, units, hash, and the tables for the kernel.

    Args:
        streams: the telemetry streams.
        groups: in vector order; the first Group triggers.

    Attributes:
        names, units: of the F features, in order.
        hash: see feature_hash.
        stream_index: row of each stream in the stream table.
        trigger: name of the stream whose rows complete vectors, or "" when there are no features.
        tables: table name to the first and the last + 1 of its features.
        layout: tables for the kernel.

    Raises:
        ValueError: an unknown stream, channel or statistic, or a window that cannot be held.
    """

    def __init__(self, streams: Sequence[StreamShape], groups: Sequence[Group | Columns]) -> None:
        self.streams = tuple(streams)
        self.entries = tuple(groups)
        self.groups = tuple(group for group in groups if isinstance(group, Group))
        self.stream_index = {stream.name: i for i, stream in enumerate(self.streams)}
        self.trigger = self.groups[0].stream if self.groups else ""
        by_name = {stream.name: stream for stream in self.streams}
        names: list[str] = []
        units: list[str] = []
        firsts: list[int] = []
        self.tables: dict[str, list[tuple[int, int]]] = {}
        for entry in self.entries:
            firsts.append(len(names))
            if isinstance(entry, Group):
                check_group(entry, by_name)
                units += entry.units(by_name[entry.stream].channels)
            else:
                units += entry.columns.values()
            names += entry.names()
            if isinstance(entry, Columns):
                self.tables.setdefault(entry.table, []).append((firsts[-1], len(names)))
        self.names, self.units = tuple(names), tuple(units)
        self.hash = feature_hash(self.names, self.units)
        first_of = [first for first, entry in zip(firsts, self.entries, strict=True) if isinstance(entry, Group)]
        self.layout = Layout(self.streams, self.groups, first_of, len(names))

    @property
    def lane_bytes(self) -> int:
        """Memory of one device's windows."""
        return self.layout.lane_bytes


def check_group(group: Group, streams: Mapping[str, StreamShape]) -> None:
    """Whether a group can be computed.

    Raises:
        ValueError: an unknown stream, channel or statistic, or a window that cannot be held.
    """
    if group.stream not in streams:
        raise ValueError(f"unknown stream {group.stream!r}; declared are {', '.join(streams)}")
    shape = streams[group.stream]
    parts = group.parts()
    for channel in [*group.channels, *(other for part in parts for other in part.others)]:
        if channel not in shape.channels:
            raise ValueError(f"stream {group.stream!r} has no channel {channel!r}; it has {', '.join(shape.channels)}")
    if problem := part_problem(group, parts):
        raise ValueError(problem)
    if group.hop.by_time is False and group.hop.value < 1:
        raise ValueError("hop must be at least one sample")
    group.window_rows(shape.rate_hz)


def part_problem(group: Group, parts: Sequence[Part]) -> str:
    """What a window or a channel makes impossible of its statistics, or ""."""
    for part in parts:
        for channel in group.channels:
            if channel in part.others:
                return f"{part.text} of {channel!r} needs another channel than itself"
        is_lagged = part.kind in (k.POINT, k.SCAN) and part.text.startswith(("lag(", "autocorr("))
        if is_lagged and not group.window.by_time and part.i >= group.window.value:
            return f"{part.text} reaches beyond a window of {group.window} samples; at most {group.window.value - 1} is possible"
    return ""
