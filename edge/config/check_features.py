"""The feature vector: known streams, channels and statistics, windows that can be held, and no name twice."""

import os

import msgspec

from edge.config.findings import Findings, join, near
from edge.config.types import Features, RuntimeConfig, Stream
from edge.features.plan import STATISTICS, FeaturePlan, Group, Span, StreamShape

_NS_PER_MS = 1_000_000
_LONGEST = Span(366 * 24 * 3600 * 1_000_000_000, by_time=True)
_MOST_ROWS = 1 << 40


class Vector(msgspec.Struct, frozen=True):
    """The feature vector as far as it could be worked out.

    Args:
        names, units: of the features in order.
        is_complete: nothing is missing because of a problem.
    """

    names: list[str]
    units: list[str]
    is_complete: bool


def check_features(config: RuntimeConfig, found: Findings) -> Vector:
    """Note what is wrong with the entries of ``features``."""
    groups: list[Group] = []
    names: list[str] = []
    units: list[str] = []
    owners: dict[str, int] = {}
    for i, entry in enumerate(config.features):
        path = f"features[{i}]"
        group = _group(entry, path, config, found)
        if group is None or not found.is_sound(path):
            continue
        for name in group.names():
            if name in owners:
                other = "twice" if owners[name] == i else f"as features[{owners[name]}] does"
                found.add(path, f"computes {name} {other}; a feature's name must be unique")
            owners.setdefault(name, i)
        groups.append(group)
        names += group.names()
        units += group.units(config.streams[entry.stream].channels)
    vector = Vector(names, units, is_complete=found.is_sound("features"))
    if vector.is_complete and found.is_sound("streams", "lanes"):
        _check_memory(config, groups, found)
    return vector


def vector_of(config: RuntimeConfig) -> Vector:
    """The feature vector of a config that has no problems."""
    return check_features(config, Findings())


def _group(entry: Features, path: str, config: RuntimeConfig, found: Findings) -> Group | None:
    for i, stat in enumerate(entry.stats):
        if stat not in STATISTICS:
            found.add(f"{path}.stats[{i}]", f"unknown statistic {stat!r}; there are {', '.join(STATISTICS)}", near(stat, STATISTICS))
    window = _span(entry.window, f"{path}.window", found)
    hop = _span(entry.hop, f"{path}.hop", found)
    stream = config.streams.get(entry.stream)
    where = join("streams", entry.stream)
    if stream is None:
        reason = f"unknown stream {entry.stream!r}; declared are {', '.join(config.streams) or 'none'}"
        found.add(f"{path}.stream", reason, near(entry.stream, config.streams), needs=["streams"] if not config.streams else [])
        return None
    if stream.kind != "telemetry":
        found.add(f"{path}.stream", f"{entry.stream!r} is a scan stream; features come from telemetry", needs=[f"{where}.kind"])
        return None
    _check_channels(entry, stream, path, where, found)
    if window is None or hop is None or not set(entry.channels) <= set(stream.channels):
        return None
    group = Group(entry.stream, tuple(entry.channels), window, hop, tuple(entry.stats))
    _check_rate(group, stream, path, where, found)
    return group


def _span(text: str | int, path: str, found: Findings) -> Span | None:
    if not found.is_sound(path):
        return None
    try:
        span = Span.parse(text)
    except (ValueError, OverflowError) as fault:
        found.add(path, str(fault))
        return None
    if span.value > (_LONGEST.value if span.by_time else _MOST_ROWS):
        found.add(path, f"is too long; at most {_LONGEST} or {_MOST_ROWS} samples are possible")
        return None
    return span


def _check_channels(entry: Features, stream: Stream, path: str, where: str, found: Findings) -> None:
    for i, channel in enumerate(entry.channels):
        if channel not in stream.channels:
            reason = f"stream {entry.stream!r} has no channel {channel!r}; it has {', '.join(stream.channels) or 'none'}"
            found.add(
                f"{path}.channels[{i}]", reason, near(channel, stream.channels), needs=[f"{where}.channels"] if not stream.channels else []
            )


def _check_rate(group: Group, stream: Stream, path: str, where: str, found: Findings) -> None:
    """Sizes, which time windows know by the stream's rate only."""
    needs = [f"{where}.rate_hz"]
    if stream.rate_hz is None:
        for key, span in (("window", group.window), ("hop", group.hop)):
            if span.by_time:
                found.add(f"{path}.{key}", f"a {key} of {span} needs {where}.rate_hz", needs=needs)
        if group.window.by_time:
            return
    try:
        group.window_rows(stream.rate_hz)
    except ValueError as fault:
        found.add(f"{path}.window", str(fault), needs=needs)


def _check_memory(config: RuntimeConfig, groups: list[Group], found: Findings) -> None:
    shapes = [
        StreamShape(name, stream.channels, stream.rate_hz, stream.max_rows, int((stream.clean.max_gap_ms or 0) * _NS_PER_MS))
        for name, stream in config.streams.items()
        if stream.kind == "telemetry"
    ]
    needed = FeaturePlan(shapes, groups).lane_bytes * config.lanes
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        reason = f"the windows of {config.lanes} devices take {needed / 1e9:.1f} GB; this machine has {there / 1e9:.1f}"
        found.add("lanes", f"{reason}: fewer lanes, or shorter windows")
