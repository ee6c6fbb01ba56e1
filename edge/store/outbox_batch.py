"""What may be done to an outbox's file, and many of it as one transaction."""

from collections.abc import Iterable

import msgspec

from edge.messages import Alert
from edge.store.outbox_file import Entry
from edge.store.outbox_said import Reported


class Snapshot(msgspec.Struct, frozen=True):
    """All that is in an outbox, in order, the number of the latest that was accepted, and what rules said last."""

    entries: list[Entry]
    last: int
    said: Reported


Operation = Entry | int | str | Snapshot | None  # keep; forget a number, a device; write all anew; the end


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
        elif isinstance(operation, int):
            batch.drops.append(operation)
        elif isinstance(operation, str):
            batch.forgotten.append(operation)
        elif isinstance(operation, Snapshot):
            puts = {entry.number: entry for entry in operation.entries}
            batch = Batch(operation.last, puts, [], batch.forgotten, dict(operation.said))
    return batch
