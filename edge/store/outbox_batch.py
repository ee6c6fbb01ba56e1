"""What may be done to an outbox's file, and many of it as one transaction."""

from collections.abc import Iterable

import msgspec

from edge.messages import Alert
from edge.store.outbox_file import GIVEN_UP, TOLD, Entry
from edge.store.outbox_own import EVICTED
from edge.store.outbox_said import Reported


class Snapshot(msgspec.Struct, frozen=True):
    """All that is in an outbox, in order, the number of the latest that was accepted, what rules said last, and its totals."""

    entries: list[Entry]
    last: int
    said: Reported
    totals: dict[str, int] = {}


class GivenUp(msgspec.Struct, frozen=True):
    """An alert that was given up: its number, and how many were, this one included."""

    number: int
    total: int


Operation = Entry | GivenUp | int | str | Snapshot | None  # keep; give up; forget a number, a device; write all anew; the end


class Batch(msgspec.Struct):
    """One transaction: what OutboxFile.write takes.

    Args:
        last: number of the latest alert that is on disk afterwards.
    """

    last: int
    puts: dict[int, Entry] = {}
    drops: list[int] = []
    forgotten: list[str] = []
    anew: dict[tuple[str, str], str] | None = None
    totals: dict[str, int] = {}


def fold(operations: Iterable[Operation], committed: int) -> Batch:
    """Operations in their order as one transaction.

    Args:
        operations: to be done.
        committed: number of the latest alert that is on disk.
    """
    batch = Batch(committed)
    for operation in operations:
        if isinstance(operation, Entry):
            batch.puts[operation.number] = operation
            batch.last = max(batch.last, operation.number)
            alert = operation.message.message
            if batch.anew is not None and isinstance(alert, Alert) and alert.device:
                batch.anew[alert.device, alert.name] = alert.state
            if isinstance(alert, Alert) and alert.name == EVICTED:
                batch.totals[TOLD] = int(alert.value)
        elif isinstance(operation, GivenUp):
            batch.drops.append(operation.number)
            batch.totals[GIVEN_UP] = operation.total
        elif isinstance(operation, int):
            batch.drops.append(operation)
        elif isinstance(operation, str):
            batch.forgotten.append(operation)
        elif isinstance(operation, Snapshot):
            puts = {entry.number: entry for entry in operation.entries}
            batch = Batch(operation.last, puts, [], batch.forgotten, dict(operation.said), dict(operation.totals))
    return batch
