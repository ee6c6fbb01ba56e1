"""What is done to samples: channels that exist, units that convert, numbers that can be calculated with, options that fit each other."""

import math
from collections.abc import Iterable

import numpy as np

from edge.clean.steps import MOST_COLUMNS, Grid
from edge.config.cleaning import QUALITY, is_cleaned
from edge.config.findings import Findings, join, near
from edge.config.types import Stream
from edge.units import conversion, convertible

_FLOAT32_MAX = 3.4028234663852886e38
_MOST_RESAMPLED = 1 << 22  # rows that one message can become: 150 MB for eight channels
_FLATTEST = 1e-9  # determinant of a matrix over the product of the lengths of its rows: below, the axes cannot be told apart


def check_cleaning(stream: Stream, path: str, found: Findings) -> None:
    """Note what is wrong with a stream's table ``clean``, but for what lets rows pass.

    Args:
        stream: any kind.
        path: of the stream.
        found: takes the problems.
    """
    where = f"{path}.clean"
    if stream.kind != "telemetry":
        for key in ("calibrate", "matrix", "convert", "max_rate", "spike", "stuck", "resample", "derive"):
            if getattr(stream.clean, key):
                found.add(f"{where}.{key}", "a scan stream has no channels", needs=[f"{path}.kind"])
        if stream.clean.missing.policy != "reject":
            found.add(f"{where}.missing", "a scan stream has no channels", needs=[f"{path}.kind"])
        return
    _check_calibration(stream, path, where, found)
    _check_matrices(stream, path, where, found)
    _check_conversions(stream, path, where, found)
    _check_detectors(stream, path, where, found)
    _check_missing(stream, path, where, found)
    _check_resample(stream, where, found)
    _check_derived(stream, path, where, found)
    columns = len(stream.channels) + len(stream.clean.derive) + 1
    if is_cleaned(stream) and columns > MOST_COLUMNS:
        reason = f"a cleaned stream has at most {MOST_COLUMNS} columns; channels, derived channels and {QUALITY} are {columns}"
        found.add(f"{path}.channels", reason)


def check_names(names: Iterable[str], stream: Stream, path: str, found: Findings, *, channels: str) -> bool:
    """Note names that are no channels of the stream.

    Args:
        names: to look at.
        stream: whose channels they should be.
        path: of the table or list that has the names; a list's path ends in ``[]``.
        found: takes the problems.
        channels: path of the stream's channels.
    """
    is_good = True
    for i, name in enumerate(names):
        if name not in stream.channels:
            where = f"{path[:-2]}[{i}]" if path.endswith("[]") else join(path, name)
            reason = f"the stream has no channel {name!r}; it has {', '.join(stream.channels) or 'none'}"
            found.add(where, reason, near(name, stream.channels), needs=[channels])
            is_good = False
    return is_good


def _check_calibration(stream: Stream, path: str, where: str, found: Findings) -> None:
    check_names(stream.clean.calibrate, stream, f"{where}.calibrate", found, channels=f"{path}.channels")
    for channel, calibration in stream.clean.calibrate.items():
        at = join(f"{where}.calibrate", channel)
        if not math.isfinite(calibration.offset):
            found.add(f"{at}.offset", "must be finite")
        if not math.isfinite(calibration.scale) or calibration.scale == 0:
            found.add(f"{at}.scale", "must be finite and not 0: it would make every value the same")


def _check_matrices(stream: Stream, path: str, where: str, found: Findings) -> None:
    owners: dict[str, int] = {}
    for i, matrix in enumerate(stream.clean.matrix):
        at = f"{where}.matrix[{i}]"
        check_names(matrix.channels, stream, f"{at}.channels[]", found, channels=f"{path}.channels")
        for channel in matrix.channels:
            if channel in owners:
                found.add(f"{at}.channels", f"{channel!r} is there already, in matrix[{owners[channel]}]; a channel is mixed once")
            owners[channel] = i
        units = {stream.channels.get(channel) for channel in matrix.channels}
        if len(units) > 1:
            found.add(f"{at}.channels", "must have one unit; convert comes after the matrix", needs=[f"{path}.channels", f"{at}.channels"])
        _check_rows(matrix.rows, f"{at}.rows", found)


def _check_rows(rows: list[list[float]], at: str, found: Findings) -> None:
    if not found.is_sound(at):
        return
    table = np.array(rows, np.float64) if [len(row) for row in rows] == [3, 3, 3] else np.empty(0)
    if table.shape != (3, 3) or not np.isfinite(table).all():
        found.add(at, "must be three rows of three finite numbers")
        return
    lengths = np.linalg.norm(table, axis=1)
    if not lengths.all() or abs(float(np.linalg.det(table / lengths[:, None]))) < _FLATTEST:
        found.add(at, "cannot be inverted: two axes would measure the same")


def _check_conversions(stream: Stream, path: str, where: str, found: Findings) -> None:
    check_names(stream.clean.convert, stream, f"{where}.convert", found, channels=f"{path}.channels")
    for channel, unit in stream.clean.convert.items():
        declared = stream.channels.get(channel)
        at = join(f"{where}.convert", channel)
        if declared is None or not found.is_sound(at, join(f"{path}.channels", channel)):
            continue
        try:
            conversion(declared, unit)
        except ValueError as fault:
            found.add(at, str(fault), near(unit, convertible(declared)), needs=[join(f"{path}.channels", channel)])


def _check_detectors(stream: Stream, path: str, where: str, found: Findings) -> None:
    clean, channels = stream.clean, f"{path}.channels"
    check_names(clean.max_rate, stream, f"{where}.max_rate", found, channels=channels)
    for channel, rate in clean.max_rate.items():
        if not math.isfinite(rate):
            found.add(join(f"{where}.max_rate", channel), "must be finite; leave the channel out when its rate does not matter")
    for key, detector in (("spike", clean.spike), ("stuck", clean.stuck)):
        if detector is not None and detector.channels is not None:
            check_names(detector.channels, stream, f"{where}.{key}.channels[]", found, channels=channels)
    if clean.spike is None:
        return
    check_names(clean.spike.floor, stream, f"{where}.spike.floor", found, channels=channels)
    for channel, floor in clean.spike.floor.items():
        at = join(f"{where}.spike.floor", channel)
        if not 0 < floor <= _FLOAT32_MAX:
            found.add(at, "must be more than 0, in the unit of the channel; leave it out for none")
        elif clean.spike.channels is not None and channel not in clean.spike.channels:
            found.add(at, f"{channel!r} is not among spike.channels", needs=[f"{where}.spike.channels"])


def _check_missing(stream: Stream, path: str, where: str, found: Findings) -> None:
    missing, at = stream.clean.missing, f"{where}.missing"
    policy = f"{at}.policy"
    if missing.policy == "hold" and missing.max_age_ms is None:
        found.add(f"{at}.max_age_ms", "is missing: how old may a value be that is held?", needs=[policy])
    if missing.policy != "hold" and missing.max_age_ms is not None:
        found.add(f"{at}.max_age_ms", f'is for policy = "hold" only, not {missing.policy!r}', needs=[policy])
    if missing.policy == "constant" and not missing.values:
        found.add(f"{at}.values", "is missing: which value, per channel?", needs=[policy])
    if missing.policy != "constant" and missing.values:
        found.add(f"{at}.values", f'is for policy = "constant" only, not {missing.policy!r}', needs=[policy])
    if missing.policy == "linear" and not stream.clean.lateness_ms:
        reason = f"{where}.lateness_ms must be more than 0: it is how long a row waits for the value after it"
        found.add(policy, reason, needs=[f"{where}.lateness_ms"])
    check_names(missing.values, stream, f"{at}.values", found, channels=f"{path}.channels")
    for channel, value in missing.values.items():
        if not abs(value) <= _FLOAT32_MAX:
            found.add(join(f"{at}.values", channel), "must be finite")


def _check_resample(stream: Stream, where: str, found: Findings) -> None:
    resample, max_gap_ms = stream.clean.resample, stream.clean.max_gap_ms
    at, gap = f"{where}.resample.rate_hz", f"{where}.max_gap_ms"
    if resample is None:
        return
    if max_gap_ms is None:
        found.add(f"{where}.resample", f"needs {gap}: across a longer step nothing is made up", needs=[gap])
        return
    if not found.is_sound(at, gap):
        return
    try:
        Grid.at(resample.rate_hz, 0)
    except ValueError as fault:
        found.add(at, str(fault))
    rows = stream.max_rows * (max_gap_ms * 1e-3 * resample.rate_hz + 1)
    if rows > _MOST_RESAMPLED:
        reason = f"a message of max_rows ({stream.max_rows}) rows, each max_gap_ms apart, would become {rows:.3g} rows"
        found.add(at, f"{reason}; at most {_MOST_RESAMPLED} are possible", needs=[gap])


def _check_derived(stream: Stream, path: str, where: str, found: Findings) -> None:
    clean, channels = stream.clean, f"{path}.channels"
    for name, members in clean.derive.items():
        at = join(f"{where}.derive", name)
        if not name:
            found.add(at, "a channel needs a name")
        elif name == QUALITY:
            found.add(at, f"{QUALITY!r} is the built-in data quality; name the channel otherwise")
        elif name in stream.channels:
            found.add(at, f"the stream has a channel {name!r} already; name the derived one otherwise")
        if not check_names(members, stream, f"{at}[]", found, channels=channels):
            continue
        twice = next((member for member in members if members.count(member) > 1), None)
        units = {member: clean.convert.get(member, stream.channels[member]) for member in members}
        if twice is not None:
            found.add(at, f"{twice!r} is there twice")
        elif len(set(units.values())) > 1:
            listed = ", ".join(f"{member} in {unit}" for member, unit in units.items())
            found.add(at, f"the channels of a norm need one unit: {listed}", needs=[channels, f"{where}.convert"])
