"""What an outbox says of itself waits beside the alerts, not among them: it is never given up for an alert, nor takes the room of one.

It has levels of its own above the severities, one for each kind, and of each kind only the latest word waits: it has the newest value.
"""

from typing import get_args

import msgspec

from edge.messages import Alert, Severity
from edge.store.outbox_bounds import size_of
from edge.store.outbox_file import Entry

SEVERITIES: tuple[str, ...] = get_args(Severity)  # least severe first
EVICTED = "outbox.evicted"
OWN = (EVICTED, "outbox.denied", "outbox.not_stored", "outbox.damaged")
ORDINARY = len(SEVERITIES)  # levels below it are severities
LEVELS = ORDINARY + len(OWN)  # a version that does not know the upper ones takes them for critical


def level_of(alert: object) -> int:
    """Where an alert waits; one without its value counts as critical."""
    if not isinstance(alert, Alert):
        return ORDINARY - 1
    return ORDINARY + OWN.index(alert.name) if alert.name in OWN else SEVERITIES.index(alert.severity)


class Held(dict[int, Entry]):
    """All that an outbox holds, by number.

    Attributes:
        ordinary: alerts among it.
        nbytes: of those.
        earlier: how many came from an earlier run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ordinary = self.nbytes = self.earlier = 0
        self._own = [0] * len(OWN)
        self._first = 0  # of this run

    def keep(self, entry: Entry) -> None:
        """One more."""
        self._count(entry, 1)
        self[entry.number] = entry

    def drop(self, number: int) -> None:
        """One less."""
        self._count(self.pop(number), -1)
        self.earlier -= number < self._first

    def restore(self, entry: Entry) -> Entry:
        """One of an earlier run; gives it as it is held."""
        if not 0 <= entry.level < LEVELS:
            entry = msgspec.structs.replace(entry, level=ORDINARY - 1)
        self.keep(entry)
        self._first = max(self._first, entry.number + 1)
        self.earlier += 1
        return entry

    def owes(self, name: str) -> bool:
        """Whether a word of the outbox's own is on its way."""
        return self._own[OWN.index(name)] > 0

    def _count(self, entry: Entry, number: int) -> None:
        if entry.level < ORDINARY:
            self.ordinary += number
            self.nbytes += number * size_of(entry)
        else:
            self._own[entry.level - ORDINARY] += number
