"""Alerts from the moment the pipeline accepts them until the broker has acknowledged them.

Owns their order, how many are under way at once, and which is given up when there is no room. Keeps them in memory: they survive
the loss of the link and of the broker, not of the process. Knows no socket and no clock, and takes nothing but alerts: a stored
command would be a stale command.

The MQTT client must never hold more than the window. Its own queue ignores its in-flight limit after a reconnect (1,000 messages
went out without one PUBACK) and grows without bound while the link is down.
"""

from collections import deque
from typing import get_args

import msgspec

from edge.messages import Alert, Outgoing, Severity

_SEVERITIES: tuple[str, ...] = get_args(Severity)  # least severe first


class _Entry(msgspec.Struct, gc=False):
    number: int
    level: int  # index of the severity
    message: Outgoing


class Outbox:
    """A bounded outbox; every operation takes constant time, ``link_lost`` one step per message in flight.

    One owner, one thread::

        while (message := outbox.ready()) is not None:
            outbox.sent(publish(message))

    Args:
        capacity: most alerts held, waiting and in flight together.
        window: most alerts in flight; 1 to ``capacity``.

    Raises:
        ValueError: window or capacity out of range.
    """

    def __init__(self, capacity: int, window: int) -> None:
        if not 1 <= window <= capacity:
            raise ValueError(f"need 1 <= window <= capacity, got window {window} and capacity {capacity}")
        self.capacity = capacity
        self.window = window
        # One queue for each severity, each in order of acceptance: the next to send is the lowest number among the heads, the
        # next to evict is the head of the least severe. What is in flight always has lower numbers than what waits.
        self._waiting: tuple[deque[_Entry], ...] = tuple(deque() for _ in _SEVERITIES)
        self._offered: _Entry | None = None
        self._in_flight: dict[int, _Entry] = {}
        self._accepted = self._delivered = self._evicted = self._stray = 0

    def __len__(self) -> int:
        """Alerts held: waiting and in flight."""
        return self._accepted - self._delivered - self._evicted

    def add(self, message: Outgoing) -> Outgoing | None:
        """Accepts an alert.

        When the box is full, the oldest of the least severe alerts is given up; the new one itself when all others that wait are
        more severe. Alerts in flight are never given up. An alert without its value counts as critical.

        Returns:
            What was given up, for the log, or None.

        Raises:
            ValueError: not an alert.
        """
        if message.kind != "alert":
            raise ValueError(f"the outbox takes alerts only, not a {message.kind}")
        severity = message.message.severity if isinstance(message.message, Alert) else _SEVERITIES[-1]
        entry = _Entry(self._accepted, _SEVERITIES.index(severity), message)
        is_full = len(self) >= self.capacity
        self._accepted += 1
        self._waiting[entry.level].append(entry)
        if not is_full:
            return None
        self._evicted += 1
        return next(queue for queue in self._waiting if queue).popleft().message

    def ready(self) -> Outgoing | None:
        """The next alert to publish, or None when none waits or the window is full. The same one until ``sent`` or ``link_lost``."""
        if self._offered is None and len(self._in_flight) < self.window:
            heads = [queue for queue in self._waiting if queue]
            if heads:
                self._offered = min(heads, key=lambda queue: queue[0].number).popleft()
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
        if self._in_flight.pop(token, None) is None:
            self._stray += 1
        else:
            self._delivered += 1

    def link_lost(self) -> None:
        """Puts everything that is not acknowledged back in front, in its original order; all tokens become void."""
        back = list(self._in_flight.values()) + ([self._offered] if self._offered else [])
        self._in_flight.clear()
        self._offered = None
        for entry in reversed(back):  # in flight is a dict in the order of sending, which is the order of acceptance
            self._waiting[entry.level].appendleft(entry)

    def counts(self) -> dict[str, int]:
        """Where alerts are. Always: accepted = delivered + waiting + in_flight + evicted.

        ``waiting`` was not sent, or over a link that was lost since; ``in_flight`` was sent and is not acknowledged; ``evicted``
        was given up because the box was full; ``stray_acks`` counts acknowledgements of tokens that were not in flight.
        """
        in_flight = len(self._in_flight)
        return {
            "accepted": self._accepted,
            "delivered": self._delivered,
            "waiting": len(self) - in_flight,
            "in_flight": in_flight,
            "evicted": self._evicted,
            "stray_acks": self._stray,
        }
