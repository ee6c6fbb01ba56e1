"""Alerts from the moment the pipeline accepts them until the broker has acknowledged them.

Owns their order, how many are under way at once, and which is given up when there is no room. With a journal an alert is offered only once
it is on disk, and what an earlier run did not deliver comes first. Without one they survive the loss of the link and of the broker, not
of the process. Knows no socket and no clock, and takes nothing but alerts: a stored command would be a stale command.

The MQTT client must never hold more than the window. Its own queue ignores its in-flight limit after a reconnect (1,000 messages
went out without one PUBACK) and grows without bound while the link is down.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec

from edge.messages import Alert, Outgoing
from edge.store.outbox_batch import GivenUp
from edge.store.outbox_bounds import ENTRY_BYTES, Bounds, size_of
from edge.store.outbox_counts import Counts, place
from edge.store.outbox_file import GIVEN_UP, TOLD, Entry, boottime_ns
from edge.store.outbox_journal import Journal
from edge.store.outbox_own import EVICTED, LEVELS, ORDINARY, Held, level_of
from edge.store.outbox_refused import NEVER_NS, Refused
from edge.store.outbox_said import Said

__all__ = ["ENTRY_BYTES", "Bounds", "Outbox"]

PASSED_OVER = 1000  # so many that must wait for a refused one are passed over in one call
UNFORGOTTEN = 256  # so many operations may wait for the disk before sending waits as well: they bound what is sent twice after a kill


class Outbox:
    """A bounded outbox; every operation takes constant time, ``link_lost`` one step per message in flight; a refusal sorts what waits.

    One owner, one thread::

        while (message := outbox.ready()) is not None:
            outbox.sent(publish(message))

    Args:
        capacity: most alerts held, waiting and in flight together; or all bounds.
        window: most alerts in flight; 1 to ``capacity``.
        journal: keeps them on disk; None: in memory.

    Attributes:
        said: what each alert rule said last, ``raised`` or ``cleared``, by device and rule: in this run, else in an earlier one.
        on_found: called with what of an earlier run was added to ``said`` later than at the start.
        totals: ``GIVEN_UP`` and ``TOLD``, earlier runs included.
        owes: whether a word of the outbox's own, such as ``outbox.denied``, is on its way.
        refusals: topics on which the broker refused an alert and has taken none since, and why.

    Raises:
        ValueError: window or capacity out of range.
    """

    def __init__(self, capacity: int | Bounds, window: int, journal: Journal | None = None) -> None:
        bounds = capacity if isinstance(capacity, Bounds) else Bounds(capacity)
        if not 1 <= window <= bounds.alerts:
            raise ValueError(f"need 1 <= window <= capacity, got window {window} and capacity {bounds.alerts}")
        self.capacity, self.window, self.journal = bounds.alerts, window, journal
        self._nbytes = NEVER_NS if bounds.nbytes is None else bounds.nbytes
        self._age_ns = NEVER_NS if bounds.age_ns is None else bounds.age_ns
        # One queue for each severity, and each kind of word of our own, in order of acceptance: the next to send is the lowest number among
        # the heads, the next to evict is the head of the least severe. What is in flight has lower numbers, but for what was refused.
        self._waiting: tuple[deque[Entry], ...] = tuple(deque() for _ in range(LEVELS))
        self._refused = Refused(LEVELS)
        self._is_mixed = False  # since a refusal, what is in flight may have higher numbers than what waits
        self._offered: Entry | None = None
        self._in_flight: dict[int, Entry] = {}
        self._held = Held()
        self.owes, self.refusals = self._held.owes, self._refused.reasons
        self._next = 0
        self.said, self._counts = Said(), Counts()
        self.totals: Counter[str] = Counter()
        self.on_found: Callable[[Said], None] = lambda _said: None
        self._is_told = journal is None or not journal.is_late
        if journal is not None:
            found = journal.start()
            if self._is_told:
                self.totals.update(journal.take_totals())
                self.said.learn(journal.take_reported())
            self._restore(found)

    def __len__(self) -> int:
        """Alerts held: waiting and in flight."""
        return len(self._held)

    def wake_with(self, wake: Callable[[], None]) -> None:
        """Say whom to call, from another thread, when ``tick`` and ``ready`` are worth a call."""
        if self.journal is not None:
            self.journal.on_commit = wake

    def add(self, message: Outgoing) -> Outgoing | None:
        """Accepts an alert.

        When the box is full, the oldest of the least severe alerts are given up; the new one itself when all others that wait are
        more severe, or when it is larger than the box. Alerts in flight are never given up. An alert without its value counts as
        critical. What the outbox says of itself has room of its own: the latest of each kind.

        Returns:
            What was given up, for the log (the first, if there were several), or None.

        Raises:
            ValueError: not an alert.
        """
        if message.kind != "alert":
            raise ValueError(f"the outbox takes alerts only, not a {message.kind}")
        alert, level = message.message, level_of(message.message)
        is_own = level >= ORDINARY
        if isinstance(alert, Alert):
            for device in self.said.note(alert):
                self._post(device)
            if alert.name == EVICTED:
                self.totals[TOLD] = int(alert.value)
        entry = Entry(self._next, level, message, boottime_ns())
        self._next += 1
        self._counts.accepted += 1
        if is_own or size_of(entry) <= self._nbytes:
            self._post(entry)
        self._held.keep(entry)
        if is_own:
            self._supersede(level)
        self._waiting[level].append(entry)
        return None if is_own else self._make_room(entry)

    def ready(self) -> Outgoing | None:
        """The next alert to publish, or None when none waits or the window is full. The same one until ``sent`` or ``link_lost``.

        With a journal: the next that is on disk. While the disk fails, alerts are sent from memory: late is worse than not stored.
        """
        if self._offered is None and len(self._in_flight) < self.window:
            self._offered = self._take_next()
        return self._offered.message if self._offered else None

    def sent(self, token: int) -> None:
        """The alert that ``ready`` gave was handed to the transport, which will acknowledge it under this token.

        Call it before anything more is read from the link.

        Raises:
            ValueError: ``ready`` gave none, or the token is in flight already.
        """
        if self._offered is None or token in self._in_flight:
            raise ValueError(f"token {token} is in flight already" if self._offered else "nothing was offered")
        self._in_flight[token] = self._offered
        self._offered = None

    def acked(self, token: int) -> None:
        """The transport acknowledged a token; counted as stray and ignored when no alert is in flight under it."""
        if (entry := self._in_flight.pop(token, None)) is None:
            self._counts.stray += 1
        elif self._refused.bars(entry):  # an earlier one of its topic was refused: sent again after that, so that the last word is the last
            self._refused.hold(entry)
        else:
            self._counts.delivered += 1
            self._refused.reasons.pop(entry.message.topic, None)
            if self._let_go(entry):
                self._refused.give_back(self._waiting)

    def refused(self, token: int, why: str = "") -> Outgoing | None:
        """The broker read a message and will not have it: no permission, a quota. It is kept and offered again, later and later.

        Later ones of its topic wait for it, and those under way are sent again after it; other topics go on.

        Returns:
            The message; None when no alert is in flight under the token.
        """
        if (entry := self._in_flight.pop(token, None)) is None:
            self._counts.stray += 1
            return None
        self._is_mixed = True
        self._refused.add(entry, boottime_ns(), why)
        return entry.message

    def link_lost(self) -> None:
        """Puts everything that is not acknowledged back in front, in its original order; all tokens become void."""
        back = list(self._in_flight.values()) + ([self._offered] if self._offered else [])
        self._in_flight.clear()
        self._offered = None
        for entry in reversed(back):  # in flight is a dict in the order of sending, which is the order of acceptance
            self._waiting[entry.level].appendleft(entry)
        if self._is_mixed:
            self._is_mixed = len(self._refused) > 0
            self._refused.new_link()
            self._refused.give_back(self._waiting)

    def tick(self) -> None:
        """Give up what is too old, and give the journal what it asks for; call often."""
        if self._age_ns != NEVER_NS and self._held:
            oldest_ns = boottime_ns() - self._age_ns
            for queue in (*self._refused.queues[:ORDINARY], *self._waiting[:ORDINARY]):
                while queue and queue[0].born_ns < oldest_ns:
                    self._counts.expired += 1
                    self._give_up(queue.popleft())
        if self._refused.is_due(boottime_ns()):
            self._refused.give_back(self._waiting)
        journal = self.journal
        if journal is not None and journal.needs_all:
            if found := journal.take_found():  # the file could be opened only now: older than all of ours, and none of them is in flight
                self._restore([msgspec.structs.replace(entry, number=i - len(found)) for i, entry in enumerate(found)])
            if not self._is_told:
                self._is_told = True
                self.totals.update(journal.take_totals())
                self.on_found(self.said.learn(journal.take_reported()))
            journal.write_all(sorted(self._held.values(), key=lambda entry: entry.number), self._next - 1, self.said.flat(), self.totals)

    def close(self) -> bool:
        """The end. Returns whether what is held will be there at the next start."""
        if self.journal is None:
            return not self._held
        self.tick()
        return self.journal.close()

    @property
    def evicted(self) -> int:
        """How many were given up, because there was no room or they were too old."""
        return self._counts.evicted

    @property
    def denied(self) -> int:
        """How many of those held the broker refused."""
        return len(self._refused)

    @property
    def is_tried(self) -> bool:
        """Whether an earlier run's refusals would be known here if they lasted: the broker has had all that it left."""
        return not self._held or (not self._held.earlier and self._counts.delivered > 0)

    def counts(self) -> dict[str, int]:
        """Where alerts are. Always: accepted = delivered + waiting + in_flight + evicted. See Counts.flat."""
        return self._counts.flat(len(self), len(self._in_flight), self.journal)

    def report(self) -> dict[str, Any]:
        """Where alerts are kept, for the status."""
        return place(self._held.nbytes, self.journal)

    def _make_room(self, newest: Entry) -> Outgoing | None:
        given_up = None
        by_severity = list(zip(self._refused.queues, self._waiting, strict=True))[:ORDINARY]
        while self._held.ordinary > self.capacity or self._held.nbytes > self._nbytes:
            if size_of(newest) > self._nbytes and newest.number in self._held:
                queue, entry = self._waiting[newest.level], newest
                queue.pop()
            elif (lowest := next((queue for pair in by_severity for queue in pair if queue), None)) is not None:
                entry = lowest.popleft()
            else:
                break  # all is in flight
            self._counts.no_room += 1
            self._give_up(entry)
            given_up = given_up or entry.message
        return given_up

    def _restore(self, found: list[Entry]) -> None:
        """Alerts of an earlier run, in order, all before ours."""
        for entry in reversed(found):
            held = self._held.restore(entry)
            self._waiting[held.level].appendleft(held)
        self._counts.accepted += len(found)
        self._counts.restored += len(found)
        if found:
            self._next = max(self._next, found[-1].number + 1)
            self._make_room(found[-1])

    def _take_next(self) -> Entry | None:
        """Out of those that wait, the first that may go."""
        journal = self.journal
        for _ in range(PASSED_OVER):
            heads = [queue for queue in self._waiting if queue]
            if not heads:
                return None
            first = min(heads, key=lambda queue: queue[0].number)
            if journal and not journal.trouble and (first[0].number > journal.committed or journal.backlog > UNFORGOTTEN):
                return None
            entry = first.popleft()
            if not self._refused.bars(entry):
                return entry
            self._refused.hold(entry)
        return None

    def _supersede(self, level: int) -> None:
        """A newer word of our own takes the place of those that wait."""
        for queue in (self._refused.queues[level], self._waiting[level]):
            while queue:
                self._counts.accepted -= 1
                self._let_go(queue.popleft())

    def _give_up(self, entry: Entry) -> None:
        self.totals[GIVEN_UP] += 1
        self._let_go(entry, GivenUp(entry.number, self.totals[GIVEN_UP]))

    def _let_go(self, entry: Entry, operation: GivenUp | None = None) -> bool:
        """Whether others that were held back may go now."""
        self._held.drop(entry.number)
        if not self._held:
            self._refused.reasons.clear()
        self._post(operation or entry.number)
        return self._refused.forget(entry)

    def _post(self, operation: Entry | GivenUp | int | str) -> None:
        if self.journal is not None:
            self.journal.post(operation)
