"""What a board says of itself in its hello: streams, actuators, parameters. Owns the grammar of the schema text."""

import msgspec

from firmware_bridge.errors import LinkError


class Stream(msgspec.Struct, frozen=True):
    """Telemetry, or scans when ``is_scan``; channels to units ("" where none is said)."""

    number: int
    name: str
    rate_hz: float
    channels: dict[str, str]
    is_scan: bool = False


class Actuator(msgspec.Struct, frozen=True):
    """An output of the board."""

    number: int
    name: str
    unit: str
    low: float
    high: float
    safe: float


class Parameter(msgspec.Struct, frozen=True):
    """A number of the board that can be read and written."""

    number: int
    name: str
    unit: str


class Schema(msgspec.Struct, frozen=True):
    """Everything; scans and telemetry are numbered apart."""

    name: str
    telemetry: dict[int, Stream]
    scans: dict[int, Stream]
    actuators: dict[str, Actuator]
    parameters: dict[str, Parameter]


def parse(text: str) -> Schema:
    """Schema of a text.

    Raises:
        LinkError: an entry is not what protocol.SCHEMA_GRAMMAR says.
    """
    if text.startswith("?"):
        raise LinkError(f"the board cannot tell its schema: {text[1:]}")
    schema = Schema("", {}, {}, {}, {})
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        try:
            schema = _with(schema, entry)
        except (ValueError, IndexError):
            raise LinkError(f"the board's schema has {entry!r}, which is none of N, T, S, A, P with what belongs to them") from None
    return schema


def _with(schema: Schema, entry: str) -> Schema:
    kind, words = entry[0], entry[1:].split(" ")
    if kind == "N":
        return msgspec.structs.replace(schema, name=entry[1:])
    number, name = int(words[0]), words[1]
    if not name or set(name) & set("/+#\0"):
        raise ValueError(name)
    if kind in "TS":
        pairs = (channel.partition("=") for channel in words[3].split(","))
        stream = Stream(number, name, float(words[2]), {channel: unit for channel, _, unit in pairs}, kind == "S")
        (schema.scans if stream.is_scan else schema.telemetry)[number] = stream
    elif kind == "A":
        schema.actuators[name] = Actuator(number, name, words[2], float(words[3]), float(words[4]), float(words[5]))
    elif kind == "P":
        schema.parameters[name] = Parameter(number, name, words[2] if len(words) > 2 else "")
    else:
        raise ValueError(kind)
    return schema
