"""Scan streams as the features see them, and what can be wrong with ``streams.NAME.scan``."""

import msgspec

from edge.config.cleaning import effective_channels
from edge.config.findings import Findings, join, near
from edge.config.lidar import Lidar, scan_settings
from edge.config.types import Features, RuntimeConfig

_UNITS = {"speed": "m/s", "yaw_rate": "rad/s"}
_PLAIN = Lidar()


def is_looked_at(config: RuntimeConfig, name: str) -> bool:
    """Whether rows of a stream reach the features: always of telemetry, of scans when a feature asks for them."""
    return config.streams[name].kind == "telemetry" or any(entry.stream == name for entry in config.features)


def is_plain(entry: Features, config: RuntimeConfig) -> bool:
    """Whether an entry takes the numbers of a scan as they are, under their own names: no window and no statistics."""
    stream = config.streams.get(entry.stream or "")
    return stream is not None and stream.kind == "scan" and not entry.stats and entry.window is None


def ego_channels(config: RuntimeConfig, name: str) -> dict[str, tuple[str, str]]:
    """Stream and channel of the vehicle's ``speed`` and ``yaw_rate``, as far as they are given and exist."""
    vehicle = config.streams[name].scan.vehicle
    found = {}
    for key in _UNITS:
        path = getattr(vehicle, key)
        owner = next((other for other in config.streams if path is not None and path.startswith(f"{other}.")), None)
        if path is not None and owner is not None and path[len(owner) + 1 :] in effective_channels(config, owner):
            found[key] = (owner, path[len(owner) + 1 :])
    return found


def check_scans(config: RuntimeConfig, found: Findings) -> None:
    """Note what is wrong with the tables ``scan`` of the streams."""
    for name, stream in config.streams.items():
        path = join("streams", name)
        if stream.kind != "scan":
            if stream.scan != _PLAIN:
                found.add(f"{path}.scan", 'is for kind = "scan" only', needs=[f"{path}.kind"])
            continue
        if found.is_sound(f"{path}.scan"):
            try:
                scan_settings(stream.scan, stream.max_points)
            except (ValueError, OverflowError) as fault:
                key = str(fault).split(" ", maxsplit=1)[0].rstrip(",")
                found.add(f"{path}.scan.{key}" if key in Lidar.__struct_fields__ else f"{path}.scan", str(fault))
        _check_ego(config, name, found)


def _check_ego(config: RuntimeConfig, name: str, found: Findings) -> None:
    for key, unit in _UNITS.items():
        where, value = f"{join('streams', name)}.scan.vehicle.{key}", getattr(config.streams[name].scan.vehicle, key)
        if value is None:
            continue
        known = {
            f"{other}.{channel}": (unit_of, stream.clock)
            for other, stream in config.streams.items()
            if stream.kind == "telemetry"
            for channel, unit_of in effective_channels(config, other).items()
        }
        if value not in known:
            found.add(where, f"{value!r} is no channel of a telemetry stream; write stream.channel", near(value, known))
        elif known[value][0] != unit:
            found.add(where, f"{value!r} is in {known[value][0]}; {unit} is due, see clean.convert")
        elif known[value][1] != config.streams[name].clock:
            found.add(
                where, f"{value!r} has a {known[value][1]} clock, {name!r} a {config.streams[name].clock} one: times cannot be compared"
            )


def with_absolute_classifiers(config: RuntimeConfig, absolute: dict[str, str]) -> RuntimeConfig:
    """The same config, with the classifiers' folders as given by stream."""
    streams = dict(config.streams)
    for name, folder in absolute.items():
        scan = msgspec.structs.replace(streams[name].scan, classifier=folder)
        streams[name] = msgspec.structs.replace(streams[name], scan=scan)
    return msgspec.structs.replace(config, streams=streams)
