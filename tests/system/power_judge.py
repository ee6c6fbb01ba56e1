"""Whether what is left after a loss of power is what it must be: of an outbox, exactly what was committed; of a checkpoint, one of two."""

import bisect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from edge.messages import Outgoing
from edge.store.checkpoint import read
from edge.store.outbox import Bounds, Outbox
from edge.store.outbox_journal import Journal

# lost, again: what was committed earlier, so that accepted alerts are missing, or only such as were forgotten are back; mixed: no commit.
Verdict = Literal["right", "lost", "again", "mixed", "forged", "damaged"]


class _Run(msgspec.Struct):
    """One run of the writer: what it began with, what it was given since, and after how many of those it had committed."""

    name: str
    alerts: dict[int, str]
    said: dict[tuple[str, str], str]
    given: list[list] = []
    done: list[int] = []

    def after(self, n: int) -> tuple[list[str], dict[tuple[str, str], str]]:
        """Alerts in order, and what rules have said, when so much of what was given is committed."""
        alerts, said = dict(self.alerts), dict(self.said)
        for kind, number, *rest in self.given[:n]:
            if kind == "forget":
                alerts.pop(number, None)
            else:
                payload, device, rule, state = rest
                alerts[number], said[device, rule] = payload, state
        return [alerts[number] for number in sorted(alerts)], said

    def ends(self) -> list[int]:
        """After how much of what was given a commit may have ended."""
        last = self.done[-1] if self.done else 0
        return [0, *self.done, *range(last + 1, len(self.given) + 1)]

    def numbered(self) -> list[tuple[int, str]]:
        """Every alert that it knew."""
        return [*self.alerts.items(), *((one[1], one[2]) for one in self.given if one[0] == "keep")]


def runs(lines: list[str]) -> list[_Run]:
    """What the writer noted, by run."""
    found = [_Run("", {}, {})]
    for kind, *values in map(json.loads, lines):
        if kind == "start":
            name, alerts, said = values
            found.append(_Run(name, dict(alerts), {(device, rule): state for device, rule, state in said}))
        elif kind == "done":
            found[-1].done.append(min(values[0], len(found[-1].given)))  # the end is an operation as well
        elif kind != "closed":
            found[-1].given.append([kind, *values])
    return found


class Left(msgspec.Struct, frozen=True):
    """What the real outbox found: alerts in the order in which it would send them, what rules have said, and what it complained of."""

    alerts: list[str]
    said: dict[tuple[str, str], str]
    damaged: str
    fault: str


def left(path: Path) -> Left:
    """Open an outbox as the daemon does, deliver everything, and store one alert more."""
    journal = Journal(path, "power")
    said = journal.take_reported()
    box, alerts = Outbox(Bounds(10_000), 20, journal), []
    while (message := box.ready()) is not None:
        alerts.append(message.payload.decode(errors="replace"))
        box.sent(1)
        box.acked(1)
    box.add(Outgoing("alert", "t", b"one more"))
    is_stored = box.close()
    return Left(alerts, said, journal.damaged, journal.fault or ("" if is_stored else "it does not go on"))


class OutboxJudge:
    """Knows all that was ever given to an outbox, and judges what is left of it.

    Args:
        lines: that the writer noted until its end.
    """

    def __init__(self, lines: list[str]) -> None:
        self._runs = runs(lines)
        self._real = {one[2] for run in self._runs for one in run.given if one[0] == "keep"}
        self._commits = {_key(*run.after(n)) for run in self._runs for n in run.ends()}

    def judge(self, seen: list[str], found: Left) -> Verdict:
        """What is left after a cut.

        Args:
            seen: lines that the writer had noted by then.
            found: what is left.
        """
        now = runs(seen)
        run, whole = now[-1], self._runs[len(now) - 1]
        if found.damaged or found.fault:
            return "damaged"
        if any(run.after(n) == (found.alerts, found.said) for n in _allowed(run, whole)):
            return "right"
        if not set(found.alerts) <= self._real:
            return "forged"
        if _key(found.alerts, found.said) not in self._commits:
            return "mixed"
        done = run.done[-1] if run.done else 0
        dropped = {one[1] for one in run.given[done:] if one[0] == "forget"}
        needed = set(run.after(done)[0]) - {payload for number, payload in run.numbered() if number in dropped}
        return "lost" if needed - set(found.alerts) else "again"


def _key(alerts: list[str], said: dict[tuple[str, str], str]) -> tuple[tuple[str, ...], tuple[tuple[tuple[str, str], str], ...]]:
    return tuple(alerts), tuple(sorted(said.items()))


def _allowed(run: _Run, whole: _Run) -> Iterator[int]:
    """How much of what was given may be committed: what was said to be, or the one transaction more that is on its way."""
    done = run.done[-1] if run.done else 0
    yield done
    later = bisect.bisect_right(whole.done, done)
    if later < len(whole.done):
        if whole.done[later] <= len(run.given):
            yield whole.done[later]
    else:  # the writer died before it could say how much that was
        yield from range(done + 1, len(run.given) + 1)


def judge_checkpoint(seen: list[str], path: Path) -> Verdict:
    """Whether a checkpoint is the last that was written, or the one that was on its way."""
    noted = [json.loads(line) for line in seen]
    done = max((number for kind, number in noted if kind == "done"), default=-1)
    begun = max((number for kind, number in noted if kind == "write"), default=-1)
    try:
        found = read(path)
    except ValueError:
        return "damaged"
    numbers = {-1} if found is None else {int(lane["number"]) for lane in found.lanes.values()}
    if len(numbers) != 1 or max(numbers) > begun:
        return "forged"
    return "right" if min(numbers) >= done else "lost"
