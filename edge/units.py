"""Units of channels and durations in pipeline files: the names that are known, and how to get from one unit of a quantity to another."""

import math
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

# Per quantity, unit to (factor, offset): value in the first unit of the row = factor * value + offset. Exact by definition (BIPM SI
# brochure, 9th edition; international yard and pound), but for the degree and the rpm, which are as exact as pi is in float64.
# Logarithmic units (dB, pH), units of a count (count, byte) and what depends on a substance have no conversion.
_Scale = dict[str, tuple[float, float]]


def _scale(**factors: float) -> _Scale:
    return {unit: (factor, 0.0) for unit, factor in factors.items()}


_DEGREE = math.pi / 180
_SCALES: tuple[_Scale, ...] = (
    {"1": (1.0, 0.0), "%": (1e-2, 0.0), "ppm": (1e-6, 0.0)},
    _scale(m=1.0, mm=1e-3, cm=1e-2, km=1e3, um=1e-6),
    _scale(s=1.0, ms=1e-3, us=1e-6, ns=1e-9, min=60.0, h=3600.0),
    {"m/s": (1.0, 0.0), "km/h": (1 / 3.6, 0.0), "mph": (0.44704, 0.0), "kn": (1852 / 3600, 0.0), "mm/s": (1e-3, 0.0)},
    {"m/s^2": (1.0, 0.0), "g": (9.80665, 0.0), "mg": (9.80665e-3, 0.0)},
    _scale(rad=1.0, deg=_DEGREE),
    {"rad/s": (1.0, 0.0), "deg/s": (_DEGREE, 0.0), "rpm": (math.pi / 30, 0.0)},
    {"rad/s^2": (1.0, 0.0), "deg/s^2": (_DEGREE, 0.0)},
    _scale(Hz=1.0, kHz=1e3),
    _scale(kg=1.0, g_mass=1e-3, t=1e3),
    _scale(N=1.0, kN=1e3),
    _scale(Pa=1.0, hPa=1e2, kPa=1e3, MPa=1e6, bar=1e5, mbar=1e2, psi=6894.757293168361),
    {"K": (1.0, 0.0), "degC": (1.0, 273.15), "degF": (5 / 9, 459.67 * 5 / 9)},
    _scale(V=1.0, mV=1e-3),
    _scale(A=1.0, mA=1e-3),
    _scale(W=1.0, kW=1e3),
    _scale(J=1.0, kJ=1e3, Wh=3600.0, kWh=3.6e6),
    _scale(C=1.0, Ah=3600.0),
    _scale(T=1.0, mT=1e-3, uT=1e-6, gauss=1e-4),
    {"m^3/s": (1.0, 0.0), "m^3/h": (1 / 3600, 0.0), "l/min": (1e-3 / 60, 0.0), "l/h": (1e-3 / 3600, 0.0)},
    {"m^3": (1.0, 0.0), "l": (1e-3, 0.0), "ml": (1e-6, 0.0)},
    {"g/m^3": (1.0, 0.0), "mg/m^3": (1e-3, 0.0), "ug/m^3": (1e-6, 0.0)},
    {"byte/s": (8.0, 0.0), "bit/s": (1.0, 0.0)},
)
_SCALE_OF: dict[str, _Scale] = {unit: scale for scale in _SCALES for unit in scale}

_NS_PER = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s|min|h)")


def convertible(unit: str) -> tuple[str, ...]:
    """The units that a value in this unit can be expressed in, itself included."""
    return tuple(_SCALE_OF.get(unit, (unit,)))


def conversion(source: str, target: str) -> tuple[float, float]:
    """Factor and shift: value in ``target`` = factor * value in ``source`` + shift.

    Raises:
        ValueError: the units are not of one quantity.
    """
    if source == target:
        return 1.0, 0.0
    scale = _SCALE_OF.get(source, {})
    if target not in scale:
        others = ", ".join(unit for unit in scale if unit != source) or "nothing else"
        raise ValueError(f"{source!r} cannot be converted to {target!r}, only to {others}")
    (factor, offset), (base, zero) = scale[source], scale[target]
    return factor / base, (offset - zero) / base


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
