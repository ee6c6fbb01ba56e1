"""Lines of devices that speak something else: NMEA 0183 receivers and MAVLink autopilots, as telemetry in JSON.

Owns cutting the stream into sentences and counting; well-kept parsers decide what a sentence says and whether its checksum is right.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from math import isfinite
from typing import Any, Protocol

from firmware_bridge.errors import LinkError

SENTENCE_MAX = 1024  # bytes; the standard says 82, receivers with their own sentences send more
_KNOT_MPS = 1852 / 3600
_DAY, _HALF_DAY = timedelta(days=1), timedelta(hours=12)


class Foreign(Protocol):
    """A reader of one line."""

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Stream name and JSON of every message that these bytes complete."""

    def counts(self) -> dict[str, int]:
        """What came: received = used + the sum of the others."""


def reader_of(protocol: str) -> Foreign:
    """The reader of a protocol.

    Raises:
        LinkError: unknown, or its parser is not installed.
    """
    try:
        return {"nmea": Nmea, "mavlink": Mavlink}[protocol]()  # type: ignore[return-value]
    except KeyError:
        raise LinkError(f"no reader for protocol {protocol!r}; known are nmea and mavlink") from None
    except ImportError as fault:
        raise LinkError(f"protocol {protocol} needs a parser: pip install 'edge-runtime[serial]' ({fault})") from None


class Nmea:
    """NMEA 0183: stream ``fix`` from GGA, ``motion`` from RMC, ``depth`` from DBT and DPT.

    ``t`` is Unix time in ns once a sentence told the date; a time of day that is more than 12 h off the one before belongs to the next or
    to the last day, so midnight may come before the sentence with its date. Bytes of other protocols between the sentences are skipped.
    Positions that no receiver measured are counted, not used: ``simulated`` is GGA quality 7 and 8 (typed in, demo mode) and RMC mode M
    and S; ``no_fix`` is quality 0 or status V, and a GGA with 0 satellites: receivers extrapolate before they have any.
    """

    def __init__(self) -> None:
        import pynmeagps

        self._parse = pynmeagps.NMEAReader.parse
        self._faults = (pynmeagps.NMEAParseError, pynmeagps.NMEAMessageError, pynmeagps.NMEATypeError, ValueError)
        self._buffer = bytearray()
        self._at: datetime | None = None  # of the last sentence with a time, once there was one with a date
        self._seq = 0
        self._counts = dict.fromkeys(("received", "used", "damaged", "other", "no_fix", "simulated"), 0)

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """See ``Foreign``."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            start = line.rfind(b"$")  # what was cut off by the next sentence is no sentence
            if start >= 0:
                yield from self._sentence(line[start:].strip(), cut=line[:start].count(b"$"))
        if len(self._buffer) > SENTENCE_MAX:
            del self._buffer[:-SENTENCE_MAX]

    def _sentence(self, line: bytes, cut: int) -> Iterator[tuple[str, bytes]]:
        self._counts["received"] += 1 + cut
        self._counts["damaged"] += cut
        if line[-3:-2] != b"*":
            self._counts["damaged"] += 1
            return
        try:
            message = self._parse(line + b"\r\n")
            at = self._moment(message)
            found = self._values(message)
        except (*self._faults, AttributeError, IndexError, OverflowError):  # the parser's, and a sentence without a field that its kind has
            self._counts["damaged"] += 1
            return
        if found is None:
            self._counts[_why(message)] += 1
            return
        self._counts["used"] += 1
        self._seq += 1
        stream, values = found
        if at is not None:
            values["t"] = int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000
        yield stream, json.dumps({"seq": self._seq, **values}).encode()

    def _moment(self, message: Any) -> datetime | None:
        """When a sentence is of; None when it does not say, or no date is known yet."""
        moment, day = getattr(message, "time", None), getattr(message, "date", None)
        if not isinstance(moment, time):
            return None
        if message.msgID == "RMC" and isinstance(day, date):
            self._at = datetime.combine(day, moment, UTC)
        elif self._at is not None:
            at = datetime.combine(self._at.date(), moment, UTC)
            if at - self._at > _HALF_DAY:
                at -= _DAY
            elif self._at - at > _HALF_DAY:
                at += _DAY
            self._at = at
        return self._at

    def _values(self, message: Any) -> tuple[str, dict[str, Any]] | None:
        kind = message.msgID
        if kind == "RMC":
            if message.status != "A" or _is_simulated(message):
                return None
            speed = _number(message.spd)
            values = {"lat": _number(message.lat), "lon": _number(message.lon), "course": _number(message.cog)}
            return "motion", values | {"speed": None if speed is None else speed * _KNOT_MPS}
        if kind == "GGA":
            if not message.quality or message.numSV == 0 or _is_simulated(message) or _number(message.lat) is None:
                return None
            values = {"lat": message.lat, "lon": message.lon, "alt": _number(message.alt)}
            return "fix", values | {"quality": message.quality, "satellites": _number(message.numSV), "hdop": _number(message.HDOP)}
        if kind in ("DBT", "DPT"):
            depth = _text_number(message.payload[2 if kind == "DBT" else 0])
            return None if depth is None else ("depth", {"depth": depth})
        return None

    def counts(self) -> dict[str, int]:
        """See ``Foreign``."""
        return dict(self._counts)


class Mavlink:
    """MAVLink 1 and 2, ArduPilot's dialect: one stream a message type, in lower case, fields as they are named there."""

    def __init__(self) -> None:
        from pymavlink.dialects.v20 import ardupilotmega as dialect

        self._parser = dialect.MAVLink(None)
        self._parser.robust_parsing = True
        self._counts = dict.fromkeys(("received", "used", "damaged", "other"), 0)

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """See ``Foreign``."""
        for message in self._parser.parse_buffer(data) or ():
            self._counts["received"] += 1
            kind = message.get_type()
            if kind == "BAD_DATA":
                self._counts["damaged"] += 1
                continue
            if kind.startswith("UNKNOWN"):
                self._counts["other"] += 1
                continue
            self._counts["used"] += 1
            values = {name: value for name in message.get_fieldnames() if _is_plain(value := getattr(message, name))}
            # The counter in the frame has 8 bits and is shared by all types: it is not one of this stream.
            yield kind.lower(), json.dumps(values).encode()

    def counts(self) -> dict[str, int]:
        """See ``Foreign``."""
        return dict(self._counts)


def _is_simulated(message: Any) -> bool:
    if message.msgID == "GGA":
        return message.quality in (7, 8)
    return message.msgID == "RMC" and getattr(message, "posMode", "") in ("M", "S")


def _why(message: Any) -> str:
    """The counter of a sentence that gives no value."""
    if message.msgID not in ("GGA", "RMC", "DBT", "DPT"):
        return "other"
    return "simulated" if _is_simulated(message) else "no_fix"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def _text_number(text: str) -> float | None:
    return _number(float(text)) if text else None


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int | float) and isfinite(value))
