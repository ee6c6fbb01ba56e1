"""What became of the alerts that an outbox accepted, and where they are kept, for the status."""

from typing import Any

import msgspec

from edge.store.outbox_journal import Journal


class Counts(msgspec.Struct):
    """Of one run.

    Args:
        accepted: without those words of the outbox's own that a newer one replaced.
        delivered: acknowledged.
        no_room, expired: given up because the box was full, or the alert too old.
        stray: acknowledgements of tokens that were not in flight.
        restored: of the accepted ones, from an earlier run.
    """

    accepted: int = 0
    delivered: int = 0
    no_room: int = 0
    expired: int = 0
    stray: int = 0
    restored: int = 0

    @property
    def evicted(self) -> int:
        """Given up, for any reason."""
        return self.no_room + self.expired

    def flat(self, held: int, in_flight: int, journal: Journal | None) -> dict[str, int]:
        """For the status.

        ``waiting`` was not sent, or over a link that was lost since, or refused; ``in_flight`` was sent and is not acknowledged. With a
        journal: ``unstored`` operations wait for the disk.
        """
        counts = {
            "accepted": self.accepted,
            "delivered": self.delivered,
            "waiting": held - in_flight,
            "in_flight": in_flight,
            "evicted": self.evicted,
            "stray_acks": self.stray,
        }
        return counts if journal is None else counts | {"restored": self.restored, "expired": self.expired, "unstored": journal.backlog}


def place(nbytes: int, journal: Journal | None) -> dict[str, Any]:
    """Where alerts are kept."""
    if journal is None:
        return {"kept": "in memory", "bytes": nbytes}
    kept = f"in memory: {journal.trouble}" if journal.trouble else f"in {journal.path}"
    return {"kept": kept, "durability": journal.durability, "bytes": nbytes, "commits": journal.commits}
