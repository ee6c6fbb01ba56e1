"""Whether the board that is there is the one that the pipeline file was written for. Compares; refuses what would be read wrongly.

A block of three channels is as good as any to a stream that the file says has two, once its bytes are cut anew: nothing behind the line
could notice.
"""

import logging
import re
from collections.abc import Iterable

import msgspec

from edge.topics import TopicTemplate
from edge.units import KNOWN
from firmware_bridge.schema import Actuator, Schema, Stream

_log = logging.getLogger(__name__)

RATE_SHARE = 0.1  # of rate_hz; a crystal is off by 0.01 %, what is off by more is another setting
OWN = ("log", "fault")  # topics that every board has and no schema names
_ALIASES = {"celsius": "degC", "\u00b0c": "degC", "fahrenheit": "degF", "\u00b0f": "degF", "kelvin": "K", "nm": "N*m", "-": "1"}
_POWER = re.compile(r"(?<=[A-Za-z])\^?([23]|\u00b2|\u00b3)(?![0-9])")
_SUPERSCRIPTS = {"\u00b2": "2", "\u00b3": "3"}


class WantedStream(msgspec.Struct, frozen=True):
    """A stream of the file: its key, its topic, channels to units (none for scans), rows a second or None."""

    key: str
    topic: str
    channels: dict[str, str]
    rate_hz: float | None
    is_scan: bool


class WantedActuator(msgspec.Struct, frozen=True):
    """An actuator of the file: its key, its topic, the unit and the bounds of its values."""

    key: str
    topic: str
    unit: str
    low: float
    high: float


class Wanted(msgspec.Struct, frozen=True):
    """What a pipeline file expects of boards."""

    streams: tuple[WantedStream, ...] = ()
    actuators: tuple[WantedActuator, ...] = ()


class Fit:
    """One line's board beside the file.

    Args:
        name: of the line, ``bench``.
        base: of its topics, ``serial/bench``.
        wanted: of the file.

    Attributes:
        refused: blocks that were not passed on, by key of the file's stream.
    """

    def __init__(self, name: str, base: str, wanted: Wanted) -> None:
        self.refused: dict[str, int] = {}
        self._name = name
        self._streams = [(one, level) for one in wanted.streams if (level := _level(one.topic, base, name))]
        self._actuators = [(one, level) for one in wanted.actuators if (level := _level(one.topic, base, name))]
        self._base = base
        self._schema: Schema | None = None
        self._misfits: dict[str, str] = {}  # topics whose blocks would be read wrongly, to keys
        self._barred: dict[str, str] = {}  # topics of commands that the board must not get, to why

    def meet(self, schema: Schema) -> None:
        """A board is there, or another one, or none (an empty schema): say once what does not fit."""
        if schema is self._schema:
            return
        self._schema, self._misfits, self._barred = schema, {}, {}
        if not (schema.name or schema.telemetry or schema.scans or schema.actuators):
            return
        for wanted, level in self._streams:
            self._stream(wanted, level, schema)
        for one, level in self._actuators:
            self._actuator(one, level, schema)

    def refuses(self, topic: str) -> bool:
        """Whether a block is of a stream that does not fit; counted."""
        key = self._misfits.get(topic)
        if key is None:
            return False
        self.refused[key] = self.refused.get(key, 0) + 1
        return True

    def bars(self, topic: str) -> str:
        """Why a command cannot be for this board, whatever its value: ``no_actuator``, ``unit``, or empty."""
        return self._barred.get(topic, "")

    def _stream(self, wanted: WantedStream, level: str, schema: Schema) -> None:
        there = {one.name: one for one in (schema.scans if wanted.is_scan else schema.telemetry).values()}
        found = there.get(level)
        if found is None:
            if level not in OWN:
                kind = "scan stream" if wanted.is_scan else "stream"
                text = "serial.%s: the board has no %s %s; it has %s"
                _log.error(text, self._name, kind, level, _names(there), extra={"stream": wanted.key})
        elif not wanted.is_scan:
            self._channels(wanted, found)

    def _channels(self, wanted: WantedStream, found: Stream) -> None:
        here, there = list(wanted.channels), list(found.channels)
        topic = f"{self._base}/{found.name}"
        if here != there:
            self._misfits[topic] = wanted.key
            text = "serial.%s: stream %s has the channels %s; streams.%s.channels says %s: its blocks are refused"
            _log.error(text, self._name, found.name, _names(there), wanted.key, _names(here), extra={"stream": wanted.key})
        for channel, unit in wanted.channels.items() if here == there else ():
            said = normal(found.channels[channel])
            if said == unit or not said:
                continue
            where = f"channel {channel} of stream {found.name} is in {said}; streams.{wanted.key}.channels says {unit}"
            if said in KNOWN:
                self._misfits[topic] = wanted.key
                _log.error("serial.%s: %s: its blocks are refused", self._name, where, extra={"stream": wanted.key})
            else:
                _log.warning(
                    "serial.%s: %s: not a unit that is known here, so nobody checks it", self._name, where, extra={"stream": wanted.key}
                )
        rate_hz = wanted.rate_hz
        if rate_hz and abs(found.rate_hz - rate_hz) > RATE_SHARE * rate_hz:
            text = "serial.%s: stream %s has %g rows a second, says the board; streams.%s.rate_hz says %g"
            _log.warning(text, self._name, found.name, found.rate_hz, wanted.key, rate_hz, extra={"stream": wanted.key})

    def _actuator(self, wanted: WantedActuator, level: str, schema: Schema) -> None:
        found, topic = schema.actuators.get(level), f"{self._base}/{level}"
        if found is None:
            self._barred[topic] = "no_actuator"
            _log.error("serial.%s: the board has no actuator %s; it has %s", self._name, level, _names(schema.actuators))
            return
        if (unit := normal(found.unit)) != wanted.unit and unit in KNOWN:
            self._barred[topic] = "unit"
            text = "serial.%s: actuator %s is in %s; actuators.%s.unit says %s: commands for it are withheld"
            _log.error(text, self._name, level, unit, wanted.key, wanted.unit)
        self._range(wanted, found)

    def _range(self, wanted: WantedActuator, found: Actuator) -> None:
        if wanted.low < found.low or wanted.high > found.high:
            text = "serial.%s: actuator %s takes %g to %g; actuators.%s says min = %g, max = %g: commands beyond are withheld"
            _log.warning(text, self._name, found.name, found.low, found.high, wanted.key, wanted.low, wanted.high)


def normal(unit: str) -> str:
    """A unit as firmware may write it (``m/s2``, ``Nm``) in the words of ``edge.units``; as it is when nothing is known of it."""
    if unit in KNOWN or not unit:
        return unit
    text = _ALIASES.get(unit.strip().lower(), unit.strip())
    powers = _POWER.sub(lambda power: f"^{_SUPERSCRIPTS.get(power[1], power[1])}", text)
    return next((one for one in (text, powers) if one in KNOWN), unit)


def _level(topic: str, base: str, device: str) -> str:
    """The last level of a topic of this line; empty for another's."""
    before, _, level = TopicTemplate(topic).format(device).rpartition("/")
    return level if before == base else ""


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
