"""What an operator should hear of: what is refused and why it may be, frames that lead to no decision, outputs that fall silent.

Reads the status once a second and logs. Each thing is told at once and then at most once a minute, with how often it happened since.
"""

import logging
from typing import Any

import msgspec

from edge.pipeline.intake import Intake, TelemetryIntake
from edge.pipeline.recipe import Pipeline
from edge.wire.json_fields import JsonCodec

_log = logging.getLogger(__name__)

PERIOD_NS = 1_000_000_000
AGAIN_NS = 60_000_000_000
PATIENCE_NS = 5_000_000_000  # beyond the longest window, which has to fill first
_FAR = 10  # times as fast or as slow as rate_hz says: no sender's tolerance, but another unit
_READ = 4096  # bytes of a refused payload that are looked into
_LISTED = 8
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))

_HINTS = {
    "empty": "is something clearing a topic?",
    "too_large": "streams.{name}.max_bytes",
    "malformed": "does the device send what streams.{name}.format says?",
    "wrong_version": 'is "v" of the MessagePack frame 1?',
    "wrong_type": "numbers in quotes, or a counter that is no integer?",
    "wrong_size": "do the channels of the file match what is sent, in number and in length?",
    "too_many_rows": "streams.{name}.max_rows",
    "not_finite": "the sensor says that it has no value",
    "out_of_range": "streams.{name}.clean.range, or another unit than that of the channel",
    "stamp_past": "two senders with one device name, or a clock that was set back",
    "stamp_future": "stamp_unit, the sender's clock, or clean.max_ahead_ms",
    "stale": "the sender's clock, or clean.max_age_ms",
    "retained": "stored copies are of unknown age: send telemetry without the retain flag",
    "channels": "the board has other channels or units than the file; the log says which, where the board said hello",
    "evicted": "more devices than lanes",
    "superseded": "scans come faster than they are taken",
    "late": "frames overtake each other: clean.lateness_ms lets them wait; or two senders have one device name",
    "duplicate": "QoS 1 repeats, or two senders have one device name",
}


class Notices:
    """Watches one pipeline.

    Args:
        pipeline: whose status it is.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._intakes = {intake.name: intake for intake in pipeline.intakes}
        self._next_ns = 0
        self._again_ns: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._seen = (0, 0)  # samples used, decisions made
        self._barren_ns: int | None = None
        self._latched: set[tuple[str, str]] = set()
        plan = pipeline.features.plan
        rates = {stream.name: stream.rate_hz or 1.0 for stream in plan.streams}
        windows = [group.window.value if group.window.by_time else group.window.value * 1e9 / rates[group.stream] for group in plan.groups]
        self._patience_ns = PATIENCE_NS + int(max(windows, default=0))

    def look(self, report: dict[str, Any], now_ns: int) -> None:
        """Compare a status with the ones before; does nothing within a second of the last look."""
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + PERIOD_NS
        for name, stream in report["streams"].items():
            self._refused(self._intakes[name], stream, now_ns)
            if isinstance(intake := self._intakes[name], TelemetryIntake):
                self._rate(intake, stream, now_ns)
        self._decisions(report, now_ns)
        self._outputs(now_ns)

    def _refused(self, intake: Intake, stream: dict[str, Any], now_ns: int) -> None:
        reasons = {**stream["invalid"], **stream["dropped"], "late": stream["late"], "duplicate": stream["duplicate"]}
        for reason, total in reasons.items():
            if new := self._news(f"{intake.name} {reason}", total, now_ns):
                hint = self._hint(intake, reason, stream, new)
                _log.warning(
                    "stream %s: %d not used, %s%s", intake.name, new, reason, f": {hint}" if hint else "", extra={"stream": intake.name}
                )

    def _hint(self, intake: Intake, reason: str, stream: dict[str, Any], new: int) -> str:
        if reason == "missing_field" and isinstance(intake, TelemetryIntake) and isinstance(intake.codec, JsonCodec):
            keys = _keys(intake.refused)
            there = f"; the last one refused has {', '.join(keys[:_LISTED])}" if keys else ""
            return f"the file looks for {', '.join(intake.codec.paths[:_LISTED])}{there}"
        if reason == "duplicate" and stream["duplicate"] > stream["received"] // 2:
            return "nearly all: is the field of seq a counter, one more with every message?"
        if reason == "stamp_past" and isinstance(intake, TelemetryIntake):
            key, standing = f"{intake.name} standing", intake.gate.counts.standing
            new_standing, self._told[key] = standing - self._told.get(key, 0), standing
            if 2 * new_standing > new:
                return _standing(intake)
        return _HINTS.get(reason, "").format(name=intake.name)

    def _rate(self, intake: TelemetryIntake, stream: dict[str, Any], now_ns: int) -> None:
        measured, expected = stream["rate_hz"], intake.rate_hz
        if measured is None or expected is None:
            return
        if not expected / _FAR < measured < expected * _FAR:
            if self._news(f"{intake.name} rate", stream["used"], now_ns):
                unit = "stamp_unit?" if isinstance(intake.codec, JsonCodec) else "t, dt and ts are in ns"
                text = "stream %s: steps of %s, expected %s (rate_hz = %g): %s"
                _log.warning(
                    text, intake.name, _duration(1e9 / measured), _duration(1e9 / expected), expected, unit, extra={"stream": intake.name}
                )
        elif new := self._news(f"{intake.name} overflows", stream["overflows"], now_ns):
            text = "stream %s: %d samples left their windows early: %g Hz measured, rate_hz = %g"
            _log.warning(text, intake.name, new, measured, expected, extra={"stream": intake.name})

    def _decisions(self, report: dict[str, Any], now_ns: int) -> None:
        decisions = report["decisions"]
        used = sum(stream["used"] for stream in report["streams"].values())
        before, self._seen = self._seen, (used, decisions["made"])
        if decisions["made"] != before[1] or not self._pipeline.features.plan.groups:
            self._barren_ns = None
        elif used != before[0]:
            self._barren_ns = now_ns if self._barren_ns is None else self._barren_ns
            if now_ns - self._barren_ns >= self._patience_ns and self._news("decisions", used, now_ns):
                _log.warning("frames come, but no decision was made for %d s: %s", (now_ns - self._barren_ns) // 10**9, _why(decisions))

    def _outputs(self, now_ns: int) -> None:
        safe = self._pipeline.decisions.safe
        latched = {key for key, command in safe.items() if now_ns <= command.expires_ns}
        for device, name in sorted(latched - self._latched):
            command = safe[device, name]
            if new := self._news(f"{name} latched", self._told.get(f"{name} latched", 0) + 1, now_ns):
                why = command.cause.rule.removeprefix("envelope.")
                _log.warning(
                    "actuator %s of %s is latched at its safe value %g: %s (%d such)",
                    name,
                    device,
                    command.value,
                    why,
                    new,
                    extra={"device": device},
                )
        for device, name in sorted(self._latched - latched):
            if self._news(f"{name} armed", self._told.get(f"{name} armed", 0) + 1, now_ns):
                _log.warning("actuator %s of %s is no longer latched", name, device, extra={"device": device})
        self._latched = latched

    def _news(self, key: str, total: int, now_ns: int) -> int:
        """How many are new; 0 within a minute of the last time that some were told."""
        new = total - self._told.get(key, 0)
        if new <= 0 or now_ns < self._again_ns.get(key, 0):
            return 0
        self._told[key], self._again_ns[key] = total, now_ns + AGAIN_NS
        return new


def _standing(intake: TelemetryIntake) -> str:
    """Why a stamp may equal the one before although the counter rose."""
    unit = dict(_UNITS)[intake.codec.stamp_unit_ns] if isinstance(intake.codec, JsonCodec) else "ns"
    coarse = "" if unit == "ns" else "; stamp_unit is too coarse for the rate, or for a sender that catches up"
    return f"stamps that do not rise: two samples within one {unit}{coarse}"


def _why(decisions: dict[str, Any]) -> str:
    if decisions["waiting"]:
        lacking = ", ".join(f"{n} of {name}" for name, n in list(decisions["waiting"].items())[:_LISTED])
        return f"devices wait for a window ({lacking}). A device needs every window of features; kinds of device need a file each"
    skipped = decisions["skipped"] | decisions["failed"]
    return ", ".join(f"{n} {name}" for name, n in skipped.items()) or "no vector is complete"


def _keys(payload: bytes) -> list[str]:
    try:
        found = msgspec.json.decode(payload) if len(payload) <= _READ else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return []
    return list(_paths(found, "")) if isinstance(found, dict) else []


def _paths(found: dict[str, Any], prefix: str) -> list[str]:
    """The dotted paths of two levels, which is where devices keep their numbers."""
    paths = []
    for key, value in list(found.items())[:_LISTED]:
        inner = isinstance(value, dict) and not prefix
        paths += _paths(value, f"{key}.") if inner else [f"{prefix}{key}"[:40]]
    return paths


def _duration(ns: float) -> str:
    scale, unit = next((one for one in _UNITS if ns >= one[0]), _UNITS[-1])
    return f"{ns / scale:.4g} {unit}"
