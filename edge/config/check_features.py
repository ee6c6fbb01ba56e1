"""The feature vector: known streams, channels and statistics, windows that can be held, and no name twice."""

import os
from functools import lru_cache
from pathlib import Path

import msgspec

from edge.config.cleaning import QUALITY, effective_channels, effective_rate_hz, steps_of
from edge.config.findings import Findings, join, near
from edge.config.scans import is_looked_at, is_plain
from edge.config.types import Features, RuntimeConfig, Stream
from edge.features.functions import UserFunction, load_functions
from edge.features.parameters import Part
from edge.features.plan import Columns, FeaturePlan, Group, Span, StreamShape, part_problem
from edge.features.statistics import STATISTICS, parse_stat

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
    groups: list[Group | Columns] = []
    names: list[str] = []
    units: list[str] = []
    owners: dict[str, int] = {}
    for i, entry in enumerate(config.features):
        path = f"features[{i}]"
        is_table = _is_table(entry, path, config, found)
        if is_table and i == 0:
            found.add(f"{path}.table", "the first entry triggers decisions; it must be of a stream")
        group = _columns(entry, path, config, found) if is_table else _group(entry, path, config, found)
        if group is None or not found.is_sound(path):
            continue
        for name in group.names():
            if name in owners:
                other = "twice" if owners[name] == i else f"as features[{owners[name]}] does"
                found.add(path, f"computes {name} {other}; a feature's name must be unique")
            owners.setdefault(name, i)
        groups.append(group)
        names += group.names()
        units += group.columns.values() if isinstance(group, Columns) else group.units(effective_channels(config, group.stream))
    vector = Vector(names, units, is_complete=found.is_sound("features"))
    if vector.is_complete and found.is_sound("streams", "lanes"):
        _check_memory(config, groups, found)
    return vector


def vector_of(config: RuntimeConfig) -> Vector:
    """The feature vector of a config that has no problems."""
    return check_features(config, Findings())


def _is_table(entry: Features, path: str, config: RuntimeConfig, found: Findings) -> bool:
    """Which of its two forms an entry has; notes what is missing of it and what belongs to the other one."""
    if entry.table is not None:
        for key in ("stream", "channels", "window", "stats", "module"):
            if getattr(entry, key):
                found.add(f"{path}.{key}", "belongs to a stream's statistics; an entry with table has columns only")
        if not entry.columns:
            found.add(f"{path}.columns", "is missing; name columns of the table")
        return True
    if entry.columns:
        found.add(f"{path}.columns", "belongs to an entry with table", needs=[f"{path}.table"])
    needed = [("stream", "a name under streams"), ("channels", "a list of its channels")]
    for key, example in needed if is_plain(entry, config) else [*needed, ("window", '"1s" or 256')]:
        if getattr(entry, key) in (None, []):
            found.add(f"{path}.{key}", f"is missing; write {example}")
    if not entry.stats and not is_plain(entry, config):
        found.add(f"{path}.stats", 'is missing; write statistics such as ["mean", "std"]')
    return False


def _columns(entry: Features, path: str, config: RuntimeConfig, found: Findings) -> Columns | None:
    table = config.tables.get(entry.table or "")
    if table is None:
        reason = f"unknown table {entry.table!r}; declared are {', '.join(config.tables) or 'none'}"
        found.add(f"{path}.table", reason, near(entry.table or "", config.tables))
        return None
    for i, column in enumerate(entry.columns):
        if column not in table.columns:
            reason = f"table {entry.table!r} has no column {column!r}; it has {', '.join(table.columns)}"
            found.add(f"{path}.columns[{i}]", reason, near(column, table.columns))
            return None
    return Columns(entry.table or "", {column: table.columns[column] for column in entry.columns})


def _group(entry: Features, path: str, config: RuntimeConfig, found: Findings) -> Group | None:
    functions = _functions(entry, path, found)
    parts = [_part(stat, f"{path}.stats[{i}]", functions, found) for i, stat in enumerate(entry.stats)]
    window = _span(entry.window, f"{path}.window", found) if entry.window is not None else None
    hop = _span(entry.hop, f"{path}.hop", found)
    if entry.stream is None:
        return None
    stream = config.streams.get(entry.stream)
    where = join("streams", entry.stream)
    if stream is None:
        reason = f"unknown stream {entry.stream!r}; declared are {', '.join(config.streams) or 'none'}"
        found.add(f"{path}.stream", reason, near(entry.stream, config.streams), needs=["streams"] if not config.streams else [])
        return None
    channels = effective_channels(config, entry.stream)
    _check_channels(entry, [*channels, *([QUALITY] if stream.kind == "telemetry" else [])], path, where, found)
    if is_plain(entry, config):
        return Group.plain(entry.stream, tuple(entry.channels)) if set(entry.channels) <= set(channels) else None
    _check_others(parts, list(channels), entry.stream, path, found)
    if window is None or hop is None or None in parts or not set(entry.channels) <= set(channels):
        return None
    group = Group(entry.stream, tuple(entry.channels), window, hop, tuple(entry.stats), functions)
    for i, part in enumerate(parts):
        if problem := part_problem(group, part or ()):
            found.add(f"{path}.stats[{i}]", problem)
    _check_rate(group, stream, path, where, found)
    return group


def _functions(entry: Features, path: str, found: Findings) -> dict[str, UserFunction]:
    if entry.module is None:
        return {}
    try:
        return functions_of(entry.module)
    except ValueError as fault:
        found.add(f"{path}.module", str(fault))
        return {}


def functions_of(module: str) -> dict[str, UserFunction]:
    """The compiled functions of a file; compiled once for as long as the file is the same.

    Raises:
        ValueError: see edge.features.functions.load_functions.
    """
    try:
        facts = os.stat(module)
    except OSError as fault:
        raise ValueError(f"{module}: {fault.strerror}") from fault
    return _compiled(module, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=16)
def _compiled(module: str, _mtime_ns: int, _size: int) -> dict[str, UserFunction]:
    return load_functions(Path(module))


def _part(stat: str, path: str, functions: dict[str, UserFunction], found: Findings) -> tuple[Part, ...] | None:
    if stat in functions:
        return ()
    try:
        return parse_stat(stat)
    except ValueError as fault:
        found.add(path, str(fault), near(stat.split("(", maxsplit=1)[0], [*STATISTICS, *functions]))
        return None


def _check_others(parts: list[tuple[Part, ...] | None], channels: list[str], name: str, path: str, found: Findings) -> None:
    for i, part in enumerate(parts):
        for other in {other for one in part or () for other in one.others}:
            if other not in channels:
                reason = f"stream {name!r} has no channel {other!r}; it has {', '.join(channels)}"
                found.add(f"{path}.stats[{i}]", reason, near(other, channels))


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


def _check_channels(entry: Features, valid: list[str], path: str, where: str, found: Findings) -> None:
    valid = list(dict.fromkeys(valid))
    needs = [f"{where}.clean.derive", *([f"{where}.channels"] if valid == [QUALITY] else [])]
    for i, channel in enumerate(entry.channels):
        if channel not in valid:
            reason = f"stream {entry.stream!r} has no channel {channel!r}; it has {', '.join(valid)}"
            found.add(f"{path}.channels[{i}]", reason, near(channel, valid), needs=needs)


def _check_rate(group: Group, stream: Stream, path: str, where: str, found: Findings) -> None:
    """Sizes, which time windows know by the stream's rate only."""
    needs, rate_hz = [f"{where}.rate_hz", f"{where}.clean.resample"], effective_rate_hz(stream)
    if rate_hz is None:
        for key, span in (("window", group.window), ("hop", group.hop)):
            if span.by_time:
                found.add(f"{path}.{key}", f"a {key} of {span} needs {where}.rate_hz", needs=needs)
        if group.window.by_time:
            return
    try:
        group.window_rows(rate_hz)
    except ValueError as fault:
        found.add(f"{path}.window", str(fault), needs=needs)


def _check_memory(config: RuntimeConfig, groups: list[Group | Columns], found: Findings) -> None:
    shapes = [
        StreamShape(
            name,
            effective_channels(config, name),
            effective_rate_hz(stream),
            stream.max_rows if stream.kind == "telemetry" else 1,
            int((stream.clean.max_gap_ms or 0) * _NS_PER_MS),
        )
        for name, stream in config.streams.items()
        if is_looked_at(config, name)
    ]
    cleaning = sum(steps.lane_bytes for name in config.streams if (steps := steps_of(config, name)) is not None)
    needed = (FeaturePlan(shapes, groups).lane_bytes + cleaning) * config.lanes
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        reason = f"the windows of {config.lanes} devices and their cleaning take {needed / 1e9:.1f} GB; this machine has {there / 1e9:.1f}"
        found.add("lanes", f"{reason}: fewer lanes, or shorter windows")
