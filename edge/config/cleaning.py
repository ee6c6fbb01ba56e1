"""What the cleaning of a stream means for everything behind it: its channels, their units, its rate; and its steps as plain values."""

import math

import numpy as np

from edge.clean.steps import Grid, Steps
from edge.config.types import Clean, RuntimeConfig, Stream
from edge.lidar.channels import channels as scan_channels
from edge.units import conversion

QUALITY = "quality"  # the built-in channel
_NS_PER_MS = 1_000_000
_PLAIN = Clean()
STEPS = ("calibrate", "matrix", "convert", "max_rate", "spike", "stuck", "missing", "resample", "derive")
# Rows that wait for a linear fill: as many as lateness_ms holds when the sender is half as fast again, or this without a rate.
_UNKNOWN_RATE_ROWS = 1024
_MOST_WAITING_ROWS = 8192
_HEADROOM = 1.5


def is_cleaned(stream: Stream) -> bool:
    """Whether more is done to a stream's values than ``range`` says."""
    return stream.kind == "telemetry" and any(getattr(stream.clean, step) != getattr(_PLAIN, step) for step in STEPS)


def has_quality(config: RuntimeConfig, name: str) -> bool:
    """Whether a stream has the channel ``quality``: it is cleaned by more than ``range``, or a feature asks for it."""
    stream = config.streams[name]
    if stream.kind != "telemetry":
        return False
    return is_cleaned(stream) or any(entry.stream == name and QUALITY in entry.channels for entry in config.features)


def effective_channels(config: RuntimeConfig, name: str) -> dict[str, str]:
    """Channel to unit, in column order, as cleaning leaves them: converted, then derived ones, then quality; those of a scan stream."""
    stream = config.streams[name]
    if stream.kind == "scan":
        return scan_channels(stream.scan.sectors)
    units = {channel: stream.clean.convert.get(channel, unit) for channel, unit in stream.channels.items()}
    if not has_quality(config, name):
        return units
    derived = {channel: units.get(members[0], "1") if members else "1" for channel, members in stream.clean.derive.items()}
    return units | derived | {QUALITY: "1"}


def effective_rate_hz(stream: Stream) -> float | None:
    """Rows a second that come out of cleaning."""
    return stream.clean.resample.rate_hz if stream.clean.resample is not None else stream.rate_hz


def waiting_rows(stream: Stream) -> int:
    """How many rows of a device may wait for a linear fill."""
    if stream.clean.missing.policy != "linear":
        return 0
    if stream.rate_hz is None:
        return _UNKNOWN_RATE_ROWS
    return min(math.ceil(stream.clean.lateness_ms * 1e-3 * stream.rate_hz * _HEADROOM) + 2, _MOST_WAITING_ROWS)


def steps_of(config: RuntimeConfig, name: str) -> Steps | None:
    """The steps of a checked stream; None when rows are only accepted or refused, for which there is a shorter way."""
    if not has_quality(config, name):
        return None
    stream = config.streams[name]
    clean, channels = stream.clean, list(stream.channels)
    column = {channel: c for c, channel in enumerate(channels)}
    bounds = np.array([clean.range.get(channel, (-np.inf, np.inf)) for channel in channels], np.float32)
    calibrations = [clean.calibrate.get(channel) for channel in channels]
    conversions = [conversion(unit, clean.convert.get(channel, unit)) for channel, unit in stream.channels.items()]
    spike, stuck, missing = clean.spike, clean.stuck, clean.missing
    gap_ns = int((clean.max_gap_ms or 0) * _NS_PER_MS)
    age_ms = clean.lateness_ms if missing.policy == "linear" else missing.max_age_ms or 0
    return Steps(
        names=tuple(channels),
        low=np.ascontiguousarray(bounds[:, 0]),
        high=np.ascontiguousarray(bounds[:, 1]),
        offset=np.array([0.0 if calibration is None else calibration.offset for calibration in calibrations]),
        scale=np.array([1.0 if calibration is None else calibration.scale for calibration in calibrations]),
        factor=np.array([factor for factor, _ in conversions]),
        shift=np.array([shift for _, shift in conversions]),
        max_rate=_by_channel(clean.max_rate, channels, np.inf),
        floor=_by_channel(spike.floor if spike is not None else {}, channels, 0.0),
        constants=_by_channel(missing.values, channels, np.nan),
        watches_spikes=np.array([spike is not None and channel in (spike.channels or channels) for channel in channels]),
        watches_stuck=np.array([stuck is not None and channel in (stuck.channels or channels) for channel in channels]),
        matrices=tuple((tuple(column[axis] for axis in matrix.channels), np.array(matrix.rows)) for matrix in clean.matrix),
        spike_window=spike.window if spike is not None else 0,
        sigmas=spike.sigmas if spike is not None else 0.0,
        stuck_ns=int(stuck.ms * _NS_PER_MS) if stuck is not None else 0,
        policy=missing.policy,
        age_ns=int(age_ms * _NS_PER_MS),
        waiting_rows=waiting_rows(stream),
        gap_ns=gap_ns if clean.on_gap == "reset" else 0,
        rate_hz=stream.rate_hz or 0.0,
        derived=tuple(tuple(column[member] for member in members) for members in clean.derive.values()),
        grid=Grid.at(clean.resample.rate_hz, gap_ns, holds=clean.resample.method == "hold") if clean.resample is not None else None,
        max_rows=stream.max_rows,
    )


def _by_channel(values: dict[str, float], channels: list[str], default: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([values.get(channel, default) for channel in channels], np.float64)
