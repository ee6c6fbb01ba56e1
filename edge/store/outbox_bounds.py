"""How much an outbox holds."""

import msgspec

from edge.store.outbox_file import Entry

ENTRY_BYTES = 256  # what one alert takes beside its topic and payload, in memory and in the file


class Bounds(msgspec.Struct, frozen=True):
    """How much an outbox holds.

    Args:
        alerts: waiting and in flight together.
        nbytes: of all of them; None: no limit.
        age_ns: older ones are given up; None: no limit.
    """

    alerts: int
    nbytes: int | None = None
    age_ns: int | None = None


def size_of(entry: Entry) -> int:
    """What one alert takes, in bytes."""
    return len(entry.message.payload) + len(entry.message.topic) + ENTRY_BYTES
