"""The inputs: channels with known units, keys that fit the kind and the format, bounds that name channels."""

import math

from edge.config.check_cleaning import check_cleaning
from edge.config.cleaning import QUALITY
from edge.config.findings import Findings, join, near
from edge.config.types import Stream
from edge.units import KNOWN

_FRAME = ("seq", "t", "dt")
_DEEPEST = 16  # levels of a JSON path
_MEANT = {"celsius": "degC", "\u00b0c": "degC", "deg c": "degC", "fahrenheit": "degF", "\u00b0f": "degF", "kelvin": "K", "c": "degC"}
_FLOAT32_MAX = 3.4028234663852886e38


def check_streams(streams: dict[str, Stream], found: Findings) -> None:
    """Note what is wrong with the tables under ``streams``, but for their topics."""
    for name, stream in streams.items():
        path = join("streams", name)
        if not name:
            found.add(path, "a stream needs a name")
        if stream.kind == "telemetry":
            _check_channels(stream, path, found)
        else:
            _check_scan(stream, path, found)
        _check_fields(stream, path, found)
        _check_clean(stream, path, found)
        check_cleaning(stream, path, found)


def check_unit(unit: str, path: str, found: Findings) -> None:
    """Note a unit that is not known."""
    if unit not in KNOWN:
        hint = _MEANT.get(unit.strip().lower()) or near(unit, sorted(KNOWN))
        found.add(path, f'unknown unit {unit!r}; docs/pipeline.md#units lists the known ones, "1" is none', hint)


def _check_channels(stream: Stream, path: str, found: Findings) -> None:
    if not stream.channels:
        reason = 'a telemetry stream needs channels, such as { ax = "m/s^2" }'
        found.add(f"{path}.channels", reason, needs=[f"{path}.kind"])
    for channel, unit in stream.channels.items():
        where = join(f"{path}.channels", channel)
        if not channel:
            found.add(where, "a channel needs a name")
        elif channel in _FRAME and stream.format == "json":
            reason = f"{channel!r} is a field of the frame itself; name the channel otherwise and map it under fields"
            found.add(where, reason, needs=[f"{path}.format"])
        elif channel == QUALITY:
            reason = f"{QUALITY!r} is the built-in data quality; name the channel otherwise"
            found.add(where, f"{reason} and map it under fields" if stream.format == "json" else reason)
        check_unit(unit, where, found)


def _check_scan(stream: Stream, path: str, found: Findings) -> None:
    needs = [f"{path}.kind"]
    if stream.channels:
        found.add(f"{path}.channels", "a scan stream has no channels; each scan says which fields it has", needs=needs)
    if stream.format == "json":
        found.add(f"{path}.format", 'scans come as "msgpack" only', needs=needs)
    if stream.clean.range:
        found.add(f"{path}.clean.range", "a scan stream has no channels", needs=needs)


def _check_fields(stream: Stream, path: str, found: Findings) -> None:
    needs = [f"{path}.format", f"{path}.kind"]
    if stream.format != "json":
        if stream.fields:
            found.add(f"{path}.fields", 'is for format = "json" only; MessagePack frames have fixed fields', needs=needs)
        if stream.stamp_unit != "ns":
            found.add(f"{path}.stamp_unit", 'is for format = "json" only; MessagePack stamps are ns', needs=needs)
        return
    for name in stream.fields:
        if name not in stream.channels and name not in _FRAME:
            reason, valid = f"is neither a channel nor one of {', '.join(_FRAME)}", [*stream.channels, *_FRAME]
            found.add(join(f"{path}.fields", name), reason, near(name, valid), needs=[join(f"{path}.channels", name)])
    if stream.kind == "telemetry":
        _check_paths(stream, path, found)


def _check_paths(stream: Stream, path: str, found: Findings) -> None:
    """Where each number of a JSON message is: paths must be names, and none may lead through another one's number."""
    targets = {name: tuple(stream.fields.get(name, name).split(".")) for name in dict.fromkeys((*stream.channels, *_FRAME))}
    ends = {target: name for name, target in targets.items()}
    for name, target in targets.items():
        where = join(f"{path}.fields" if name in stream.fields else f"{path}.channels", name)
        text = ".".join(target)
        if not all(target) or len(target) > _DEEPEST or any(c in '"\\' or c < " " for c in text):
            found.add(where, f"{text!r} is not a path in JSON; write up to {_DEEPEST} names separated by dots, such as 'accel.x'")
            continue
        passed = next((ends[target[:depth]] for depth in range(1, len(target)) if target[:depth] in ends), None)
        if passed is not None:
            found.add(where, f"{text!r} leads through {'.'.join(targets[passed])!r}, which is the number of {passed!r}")


def _check_clean(stream: Stream, path: str, found: Findings) -> None:
    clean = stream.clean
    for channel, (low, high) in clean.range.items():
        where = join(f"{path}.clean.range", channel)
        if channel not in stream.channels:
            found.add(where, _no_channel(channel, stream), near(channel, stream.channels), needs=[f"{path}.channels"])
        elif low > high:
            found.add(where, f"lowest must be at most highest, not {low:g} and {high:g}")
        elif any(math.isfinite(bound) and abs(bound) > _FLOAT32_MAX for bound in (low, high)):
            found.add(where, f"samples are float32: bounds are infinite or within +-{_FLOAT32_MAX:.4g}")
    if clean.max_age_ms is not None and stream.clock != "synced":
        reason = 'needs clock = "synced": the age of a free-running stamp is not known'
        found.add(f"{path}.clean.max_age_ms", reason, needs=[f"{path}.clock"])


def _no_channel(channel: str, stream: Stream) -> str:
    return f"the stream has no channel {channel!r}; it has {', '.join(stream.channels) or 'none'}"
