"""Units of channels and durations in pipeline files. Owns the names that are known; converts nothing but time."""

import re

# The unit strings a pipeline file may use for a channel. Closed on purpose: a misspelt unit is a defect in the file that no
# later stage could notice. Grouped by quantity; "1" is dimensionless.
UNITS: dict[str, tuple[str, ...]] = {
    "dimensionless": ("1", "%", "ppm", "count"),
    "length": ("m", "mm", "cm", "km", "um"),
    "time": ("s", "ms", "us", "ns", "min", "h"),
    "speed": ("m/s", "km/h", "mph", "kn", "mm/s"),
    "acceleration": ("m/s^2", "g", "mg"),
    "angle": ("rad", "deg"),
    "angular velocity": ("rad/s", "deg/s", "rpm"),
    "angular acceleration": ("rad/s^2", "deg/s^2"),
    "frequency": ("Hz", "kHz"),
    "mass": ("kg", "g_mass", "t"),
    "force": ("N", "kN"),
    "torque": ("N*m",),
    "pressure": ("Pa", "hPa", "kPa", "MPa", "bar", "mbar", "psi"),
    "temperature": ("degC", "K", "degF"),
    "electric": ("V", "mV", "A", "mA", "W", "kW", "Wh", "kWh", "Ah", "ohm", "F", "H", "C"),
    "energy": ("J", "kJ"),
    "magnetic": ("T", "mT", "uT", "gauss"),
    "flow": ("m^3/s", "m^3/h", "l/min", "l/h", "kg/s"),
    "volume": ("m^3", "l", "ml"),
    "concentration": ("g/m^3", "mg/m^3", "ug/m^3", "mol/l", "pH"),
    "light": ("lx", "cd", "lm"),
    "sound": ("dB", "dBA", "dBm"),
    "data": ("bit/s", "byte/s"),
}
KNOWN: frozenset[str] = frozenset(unit for group in UNITS.values() for unit in group)

_NS_PER = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s|min|h)")


def duration_ns(text: str) -> int:
    """Nanoseconds of a duration such as ``"100ms"`` or ``"1.5s"``.

    Raises:
        ValueError: not a positive number followed by ns, us, ms, s, min or h.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or (ns := round(float(match[1]) * _NS_PER[match[2]])) <= 0:
        raise ValueError(f"{text!r} is not a duration; write a positive number and ns, us, ms, s, min or h, such as '100ms'")
    return ns


def format_duration(ns: int) -> str:
    """The shortest exact text of a duration, so that ``1000ms`` and ``1s`` name the same feature."""
    for unit in ("h", "min", "s", "ms", "us"):
        if ns % _NS_PER[unit] == 0:
            return f"{ns // _NS_PER[unit]}{unit}"
    return f"{ns}ns"
