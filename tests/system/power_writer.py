"""Writes as the daemon does, for power_loss.py: ``power_writer outbox FILE DURABILITY RUN ALERTS`` or ``... checkpoint FILE N``.

What it has done, and what counts as done, is noted in a file of its own beside what is written, so that both are in one order.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

from edge.messages import Alert, Cause, Outgoing
from edge.store.checkpoint import Checkpoint
from edge.store.checkpoint import write as write_checkpoint
from edge.store.outbox import Bounds, Outbox
from edge.store.outbox_batch import GivenUp
from edge.store.outbox_file import Entry, make_folder
from edge.store.outbox_journal import Journal

WINDOW = 20


class Marks:
    """Notes in the order of what happens."""

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder / "marks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, kind: str, *values: object) -> None:
        os.write(self._handle, json.dumps([kind, *values]).encode() + b"\n")


class NotedJournal(Journal):
    """A journal that notes what it is given before it is written."""

    marks: Marks

    def post(self, operation: Entry | GivenUp | int | str) -> None:
        if isinstance(operation, Entry):
            alert = operation.message.message
            said = (alert.device, alert.name, alert.state) if isinstance(alert, Alert) else ()
            self.marks("keep", operation.number, operation.message.payload.decode(), *said)
        else:
            self.marks("forget", operation.number if isinstance(operation, GivenUp) else operation)
        super().post(operation)


def make(run: str, seq: int, rng: random.Random) -> Outgoing:
    """An alert; some are larger than a page of the database."""
    rule, state = f"rule{seq % 3}", ("raised", "cleared")[seq // 3 % 2]
    cause = Cause("x", 1.0)
    alert = Alert(f"{run}-a{seq}", f"d{seq % 2}", run, seq, 0, rule, state, "warning", 1.0, cause, 0, "t")  # type: ignore[arg-type]
    filling = "x" * (rng.randrange(4_000, 20_000) if rng.random() < 0.15 else rng.randrange(10, 800))
    return Outgoing("alert", "t", f"{alert.id} {filling}".encode(), alert)


def outbox(path: Path, durability: str, run: str, alerts: int) -> None:
    """One run of an outbox: what an earlier one left, then so many alerts, most of which are acknowledged."""
    rng, marks = random.Random(run), Marks(path.parents[1])
    journal = NotedJournal(path, durability)  # type: ignore[arg-type]
    journal.marks = marks
    found, said = journal._found, journal.take_reported()
    marks("start", run, [[entry.number, entry.message.payload.decode()] for entry in found], [[*key, state] for key, state in said.items()])
    journal.on_commit = lambda: marks("done", journal.done)
    box = Outbox(Bounds(60, 200_000), WINDOW, journal)  # so few that some are given up
    tokens: list[int] = []
    seq = token = 0
    while seq < alerts:
        for _ in range(40 if rng.random() < 0.02 else rng.randrange(1, 4)):
            box.add(make(run, seq, rng))
            seq += 1
        if rng.random() < 0.9:
            wait(lambda: journal.backlog == 0)
        while rng.random() < 0.8 and box.ready() is not None:
            token += 1
            box.sent(token)
            tokens.append(token)
        while tokens and rng.random() < 0.6:
            box.acked(tokens.pop(0))
        if rng.random() < 0.02:
            box.link_lost()
            tokens.clear()
        box.tick()
    assert box.close()
    marks("closed")


def checkpoint(path: Path, n: int) -> None:
    """Write so many checkpoints, of growing and shrinking size."""
    rng, marks = random.Random(n), Marks(path.parents[1])
    make_folder(path.parent)
    for number in range(n):
        lanes = {f"d{i}": {"number": b"%d" % number, "filling": rng.randbytes(rng.randrange(3000))} for i in range(rng.randrange(1, 20))}
        marks("write", number)
        write_checkpoint(path, Checkpoint.of("guard", lanes))
        marks("done", number)


def wait(condition) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the disk hangs"
        time.sleep(0.0002)


if __name__ == "__main__":
    what, file, *rest = sys.argv[1:]
    if what == "outbox":
        outbox(Path(file), rest[0], rest[1], int(rest[2]))
    else:
        checkpoint(Path(file), int(rest[0]))
