"""A damaged copy of a recording's messages, as bad links and sensors make it; the same one for the same seed."""

import json
import random
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import msgpack
import msgspec

from edge.messages import RawMessage

_NAN = struct.pack("<f", float("nan"))
_MOST_LOST = 60  # messages in one gap
_LONGEST_DELAY = 40  # messages
# Chances per message; what is left stays as it is.
_CHANCES = {"lost": 0.02, "gaps": 0.002, "repeated": 0.02, "delayed": 0.03, "bad values": 0.02}


class Damage:
    """Messages with losses, gaps, repeats, disorder and values that are not numbers.

    Args:
        messages: in the order of reception.
        seed: decides what happens to which message.

    Attributes:
        done: how often what was done.
    """

    def __init__(self, messages: Iterable[RawMessage], seed: int | None) -> None:
        self.done = dict.fromkeys(_CHANCES, 0)
        self._messages, self._random = messages, random.Random(seed)  # noqa: S311 - must be the same for the same seed

    def __str__(self) -> str:
        return ", ".join(f"{n} {what}" for what, n in self.done.items())

    def __iter__(self) -> Iterator[RawMessage]:
        """Times of reception never go back: a message that is delayed has come when it comes."""
        delayed: list[tuple[int, RawMessage]] = []
        lost_until = -1
        last_ns = 0
        for number, raw in enumerate(self._messages):
            last_ns = raw.received_ns
            what = self._choose() if number > lost_until else "lost"
            if what:
                self.done[what] += 1
            if what == "gaps":
                lost_until = number + self._random.randint(2, _MOST_LOST)
            elif what == "delayed":
                delayed.append((number + self._random.randint(1, _LONGEST_DELAY), raw))
            elif what == "bad values":
                yield msgspec.structs.replace(raw, payload=_spoiled(raw.payload, self._random))
            elif what != "lost":
                yield raw
                if what == "repeated":
                    yield raw
            for _, late in [entry for entry in delayed if entry[0] <= number]:
                yield msgspec.structs.replace(late, received_ns=last_ns)
            delayed = [entry for entry in delayed if entry[0] > number]
        for _, late in delayed:
            yield msgspec.structs.replace(late, received_ns=last_ns)

    def _choose(self) -> str:
        dice = self._random.random()
        for what, chance in _CHANCES.items():
            if dice < chance:
                return what
            dice -= chance
        return ""


def _spoiled(payload: bytes, generator: random.Random) -> bytes:
    """One value that is no number, in MessagePack or JSON; anything else as it is."""
    try:
        if payload[:1] == b"{":
            message = json.loads(payload)
            return json.dumps(message).encode() if _spoil(message, generator) else payload
        message = msgpack.unpackb(payload)
        rows = message["x"]
        if type(rows) is bytes and len(rows) >= len(_NAN):
            at = generator.randrange(len(rows) // len(_NAN)) * len(_NAN)
            message["x"] = rows[:at] + _NAN + rows[at + len(_NAN) :]
            spoiled: bytes = msgpack.packb(message)
            return spoiled
    except (ValueError, KeyError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        pass
    return payload


def _spoil(message: dict[str, Any], generator: random.Random) -> bool:
    places: list[tuple[dict[str, Any], str]] = []
    open_tables = [message]
    while open_tables:
        table = open_tables.pop()
        for key, value in table.items():
            if isinstance(value, dict):
                open_tables.append(value)
            elif type(value) is float:
                places.append((table, key))
    if places:
        table, key = generator.choice(places)
        table[key] = None
    return bool(places)
