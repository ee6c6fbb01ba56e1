"""A board on a serial line, as a library: messages in a loop, commands with acks. Owns one line, one session and their selector.

with Link("serial:///dev/ttyUSB0?baud=921600") as link:
link.wait_ready(5)
print(link.command(1, 40.0, ttl_s=0.2))
for received in link.messages(10):
...
"""

import selectors
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from firmware_bridge import address, auth
from firmware_bridge.commands import Outcome
from firmware_bridge.line import BY_ID, Line
from firmware_bridge.messages import Hello, ParameterGet, ParameterSet, ParameterValue
from firmware_bridge.session import Received, Session


def now_us() -> int:
    """Host's clock: CLOCK_MONOTONIC in microseconds."""
    return time.monotonic_ns() // 1000


class Port:
    """A line with its session, for the owner of a selector.

    Args:
        url: of the line, see ``address``.
        key_file: for signing, or None.
        by_id: folder of stable names.

    Raises:
        LinkError: the address or the key cannot be used.
    """

    def __init__(self, url: str, key_file: Path | None = None, by_id: Path = BY_ID) -> None:
        key = None if key_file is None else auth.read_key(key_file)
        self.line = Line(address.parse(url), by_id)
        self.session = Session(key, lambda data: self.line.write(data, now_us()))
        self._watched: tuple[int, int] | None = None
        self._selector: selectors.BaseSelector | None = None
        self.line.before_close = self._unwatch

    def poll(self, selector: selectors.BaseSelector, data: object, at_us: int) -> int:
        """Open when it is time, send what is due, keep the selector's wishes right; returns when to call again."""
        if self.line.open(at_us):
            self.session.lose(at_us)
        next_us = self.session.poll(at_us) if self.line.is_open else self.line.retry_us
        self.line.flush(at_us)
        if self.session.hello is not None and not self.line.is_open:  # a write found that it is gone, now or since the last call
            self.session.lose(at_us)
        self.watch(selector, data)
        return next_us

    def watch(self, selector: selectors.BaseSelector, data: object) -> None:
        """Register, change or end what the selector looks at."""
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.line.backlog else 0)
        wanted = (self.line.fileno(), mask) if self.line.is_open else None
        if wanted == self._watched:
            return
        if wanted is None:
            self._unwatch()
            return
        (selector.register if self._watched is None else selector.modify)(wanted[0], wanted[1], data)
        self._watched, self._selector = wanted, selector

    def _unwatch(self) -> None:
        """While the number is still the line's: the next file that is opened gets it, and a selector would take it for the old one."""
        if self._watched is not None and self._selector is not None:
            self._selector.unregister(self._watched[0])
        self._watched = None

    def read(self, at_us: int) -> list[Received]:
        """Messages that came; none when the device is gone."""
        data = self.line.read(at_us)
        if data is None:
            self.session.lose(at_us)
            return []
        return self.session.feed(data, at_us) if data else []

    def close(self) -> None:
        """For good."""
        self.line.close()

    def report(self, at_us: int) -> dict[str, object]:
        """For status: the line's state and every counter."""
        line, session = self.line, self.session
        state = "open" if line.is_open else f"closed: {line.last_error}"
        if line.is_open and session.hello is None:
            state = "open, no board answers"
        counts = {
            "opens": line.opens,
            "read_bytes": line.read_bytes,
            "written_bytes": line.written_bytes,
            "refused_writes": line.refused_writes,
            **({"line_errors": errors} if (errors := line.errors()) else {}),
        }
        return {"state": state, "is_alive": session.is_alive(at_us), "clock_error_us": session.clock.error_us, **counts, **session.counts()}


class Link:
    """A board.

    Args:
        url: ``serial:///dev/ttyUSB0?baud=921600``, or a path.
        key_file: for signing, or None.
        by_id: folder of stable names.

    Raises:
        LinkError: the address or the key cannot be used. A device that is not there is no error: it is opened when it comes.
    """

    def __init__(self, url: str, key_file: Path | None = None, by_id: Path = BY_ID) -> None:
        self.port = Port(url, key_file, by_id)
        self._selector = selectors.DefaultSelector()
        self._held: list[Received] = []

    @property
    def hello(self) -> Hello | None:
        """What the board said of itself; None while it is not there."""
        return self.port.session.hello

    def step(self, timeout_s: float) -> list[Received]:
        """Do what is due, wait for the line at most so long, and return what came."""
        at_us = now_us()
        next_us = self.port.poll(self._selector, None, at_us)
        wait_s = max(0.0, min(timeout_s, (next_us - at_us) / 1e6))
        found: list[Received] = []
        if not self.port.line.is_open:
            time.sleep(wait_s)
        for _key, mask in self._selector.select(wait_s if self.port.line.is_open else 0):
            if mask & selectors.EVENT_READ:
                found += self.port.read(now_us())
        self.port.poll(self._selector, None, now_us())
        return found

    def _until(self, is_done: Callable[[], bool], timeout_s: float) -> bool:
        end_s = time.monotonic() + timeout_s
        while not is_done() and (left_s := end_s - time.monotonic()) > 0:
            self._held += self.step(left_s)
        return is_done()

    def wait_ready(self, timeout_s: float) -> bool:
        """Until the board said hello and its clock is known; false when it did not in time."""
        return self._until(lambda: self.port.session.is_ready, timeout_s)

    def messages(self, timeout_s: float) -> Iterator[Received]:
        """Every message for so long, what came during other calls first."""
        end_s = time.monotonic() + timeout_s
        while True:
            held, self._held = self._held, []
            yield from held
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            yield from self.step(left_s)

    def command(self, actuator: int, value: float, ttl_s: float) -> Outcome | None:
        """Send a command and wait for its ack, at most as long as it lives; None when it could not be sent."""
        outcomes: list[Outcome] = []
        sent = self.port.session.command(actuator, value, int(ttl_s * 1e6), now_us(), outcomes.append)
        if sent is None:
            return None
        self._until(lambda: bool(outcomes), ttl_s + 1.0)
        return outcomes[0] if outcomes else None

    def parameter(self, number: int, value: float | None, timeout_s: float) -> ParameterValue | None:
        """Read a parameter, or write it when there is a value; None without an answer."""
        request = now_us() & 0xFFFF
        wanted = ParameterGet(request, number) if value is None else ParameterSet(request, number, value)
        self.port.session.send(wanted, now_us())
        found: list[ParameterValue] = []
        end_s = time.monotonic() + timeout_s
        while not found and (left_s := end_s - time.monotonic()) > 0:
            for received in self.step(left_s):
                if isinstance(received.message, ParameterValue) and received.message.request == request:
                    found.append(received.message)
                else:
                    self._held.append(received)
        return found[0] if found else None

    def close(self) -> None:
        """Let go of the line."""
        self.port.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
